"""One job of a million heavy rows, a process killed every 15 s, each in turn. See README.md."""
import itertools

from chaos import fleet
from faults import kill, kill_runner
from heavy import heavy_model, heavy_rows
from load import Job
from world import publish

KILL_S = 15.0
ROW_MS = 3.2          # of one core: a million rows last more than 20 minutes on two
LEDGER_MAX = 1 << 20  # octets, write-ahead log included
TURN = ("worker-1", "broker-1", "worker-2", "gateway", "worker-3", "broker-2", "worker-4", "runner")


def killings(play):
    """Kill the next in turn, every 15 s, until the job has ended."""
    turn = itertools.cycle(TURN)
    runners = itertools.cycle(("worker-1", "worker-2", "worker-3", "worker-4"))

    def next_one():
        if play.job.ended:
            return
        name = next(turn)
        if name == "runner":
            name = next(runners)
            play.kill("runner_killed", name, kill_runner)
        else:
            play.kill("killed", name, kill)
        play.world.later(KILL_S, next_one)
    return next_one


def flat(samples):
    """"gateway 20..22 KiB" and so on: the most in the first and in the last third of the minutes."""
    third = max(1, len(samples) // 3)
    return " ".join(f"{name}_kib {max(s[name] for s in samples[:third])}.."
                    f"{max(s[name] for s in samples[-third:])}" for name in samples[0])


def run(options):
    publish(f"seed {options.seed}, one job of {options.rows} rows, a kill every {KILL_S:.0f} s")
    with fleet(options, models=()) as play:
        world = play.world
        model = heavy_model(world, ROW_MS)
        source = heavy_rows(world, model, options.seed)
        play.begin(source, max(1, options.rows // source.rows))
        play.job = play.jobs.only = Job("million", play.jobs.rows)
        play.go()
        world.later(KILL_S, killings(play))
        world.run_until(float("inf"), lambda: not play.jobs.is_alive())
        play.memory()
        if play.ledger_max > LEDGER_MAX:
            play.history.problem(f"the ledger came to {play.ledger_max} octets")
        seconds = play.job.took_s
        play.last, play.good = play.verdict(
            f"seconds {seconds:.0f} ledger_max {play.ledger_max} {flat(play.samples)} ")
    return 0 if play.good else 1


