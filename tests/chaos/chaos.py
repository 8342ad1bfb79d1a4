"""A run of chaos: the load, the schedule of faults, and the verdict. See README.md."""
import contextlib
import random
import shutil
import time

from faults import schedule
from history import History
from load import CHUNK_ROWS, Jobs, Online, pictures
from trainings import Trainings, published
from world import CLOCKS, World, publish

TIMES = 30          # a job has the 1,000 pictures so often
CLIENTS = 4
CALM_S = 180.0      # for the fleet to end its work after the last fault
STATUS_S = 10.0
MEMORY_S = 60.0
WORKERS = ("--stall-ms", "3000")
GATEWAY = ("--training-segment-ms", "20")  # less than an epoch takes


class Run:
    def __init__(self, options, world):
        self.options, self.world = options, world
        self.history = History(world)
        self.count = 0
        self.ends = {}  # of faults that hold: what ends them
        self.samples, self.ledger_max = [], 0  # of memory, each minute
        self.trainings = None

    # --- faults ---------------------------------------------------------------------------------

    def play(self, event):
        """Inject a fault now; it ends by itself when its time is over."""
        fault = event.fault
        publish(f"{self.world.seconds():.1f} s {event}")
        self.history.fault(fault.name, str(event).split(" ", 1)[1])
        if fault.silence(event.target):
            self.history.excuse(event.hold_s)
        self.count += 1
        end = fault.inject(self.world, event.target, random.Random(event.seed))
        if end:
            number = self.count
            self.ends[number] = end
            self.world.later(event.hold_s, lambda: self.heal(number))

    def kill(self, name, target, how):
        """A kill outside any schedule."""
        publish(f"{self.world.seconds():.1f} s {name} {target}")
        self.history.fault(name, target)
        self.count += 1
        how(self.world, target, None)

    def heal(self, number):
        end = self.ends.pop(number, None)
        if end:
            end()

    # --- lines ----------------------------------------------------------------------------------

    def status(self):
        online = " ".join(f"{name}:{count}" for name, count in sorted(self.history.online.items()))
        publish(f"{self.world.seconds():.0f} s faults {self.count} jobs {self.jobs.done} "
                f"rows {self.jobs.completed} online {online or 0} lost {self.history.lost} "
                f"duplicated {self.history.duplicated}")
        self.world.later(STATUS_S, self.status)

    def memory(self):
        self.samples.append(self.world.memory())
        self.ledger_max = max(self.ledger_max, self.world.ledger_bytes())
        publish(f"{self.world.seconds():.0f} s memory "
                + " ".join(f"{name} {kib} KiB" for name, kib in self.samples[-1].items())
                + f" ledger {self.world.ledger_bytes()} octets")
        self.world.later(MEMORY_S, self.memory)

    # --- the plot -------------------------------------------------------------------------------

    def begin(self, source, times, clients=0, chunk_rows=None):
        """The data set is sent; clients and jobs are made, and do not ask yet."""
        seed = self.options.seed
        self.jobs = Jobs(self.world, self.history, source, seed, times, chunk_rows)
        self.clients = [Online(self.world, self.history, source, seed * 100 + i, f"online-{i}")
                        for i in range(clients)]
        with self.world.here():
            self.jobs.upload()

    def train(self):
        """Training jobs as well."""
        self.trainings = Trainings(self.world, self.history, self.options.seed)
        with self.world.here():
            self.trainings.upload()

    def long_ones(self):
        """The clients whose jobs are waited for at the end."""
        return [client for client in (self.jobs, self.trainings) if client]

    def go(self):
        for thread in (*self.long_ones(), *self.clients):
            thread.start()
        self.world.advanced()
        self.status()
        self.memory()

    def storm(self):
        events = schedule(self.options.seed, self.options.duration, self.world.namespaces)
        for event in events:
            self.world.later(event.at_s, lambda e=event: self.play(e))
        self.world.run_until(time.monotonic() + self.options.duration)

    def calm(self):
        """No fault any more: all that is under way ends, and every client is served again."""
        for number in list(self.ends):
            self.heal(number)
        healed_s = time.monotonic()
        publish(f"{self.world.seconds():.1f} s the last fault is healed")
        for client in self.long_ones():
            client.finish(CALM_S)
        self.world.run_until(healed_s + CALM_S + 30, lambda: not any(
            client.is_alive() for client in self.long_ones()) and all(
            client.succeeded_s > healed_s for client in self.clients))
        for client in self.clients:
            client.over.set()
            if client.succeeded_s < healed_s:
                self.history.problem(f"{client.label} is not served again", lost=1)
        for thread in (*self.long_ones(), *self.clients):
            thread.join(30)

    def verdict(self, more=""):
        """The last line; and is all well?"""
        history, world = self.history, self.world
        for at, name, code in world.fell():
            history.problem(f"{name} fell by signal {-code} at {at:.1f} s")
        same = "identical" if not history.differs else "differs"
        last = (f"{self.options.mode} seed {self.options.seed} namespaces "
                f"{'yes' if world.namespaces else 'no'} faults {self.count} rows {history.rows} "
                f"lost {history.lost} duplicated {history.duplicated} "
                f"reexecuted {history.reexecuted} longest_stall_ms {world.stall_s * 1000:.0f} "
                f"{more}output {same}")
        return last, not history.problems


@contextlib.contextmanager
def fleet(options, **more):
    """A fleet that is up, and a Run on it; logs are kept unless `run.good` is set."""
    shutil.rmtree(options.logs, ignore_errors=True)
    with World(not options.loopback, **more) as world:
        world.keep_logs = options.logs
        world.begin()
        publish(f"{world.seconds():.1f} s the fleet is up: {', '.join(world.members)}"
                + ("" if world.namespaces else "; no network namespaces here"))
        play = Run(options, world)
        yield play
        if play.good:
            world.keep_logs = None
    if not play.good:
        for at, text in play.history.problems:
            publish(f"{at:.1f} s {text}")
        publish(f"logs: {options.logs}")
    if play.trainings:
        published(play.history)
    print(play.last, flush=True)


def run(options):
    publish(f"seed {options.seed}, {options.duration:.0f} s of faults")
    with fleet(options, workers=WORKERS, clocks=CLOCKS, gateway=GATEWAY) as play:
        play.begin(pictures(play.world.folder, options.seed), TIMES, CLIENTS, CHUNK_ROWS)
        with play.world.here():
            play.jobs.undisturbed()
        play.train()
        play.go()
        play.storm()
        play.calm()
        play.last, play.good = play.verdict()
    return 0 if play.good else 1
