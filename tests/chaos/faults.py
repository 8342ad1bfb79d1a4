"""The faults of a chaos run as one table, and the schedule that a seed makes of it.

FAULTS is the list. A fault is injected into one target and holds for a while; `inject` returns what
ends it (None: it is over at once). Nothing here judges: what must hold is the history's to check.
"""
import contextlib
import dataclasses
import os
import random
import resource
import signal
import subprocess
import threading
from typing import Callable

from storm import storm
from world import BROKERS, CLOCKS, WORKERS, command

GAP_S = (1.0, 2.8)  # between two faults: at least one every 3 s
FLAP_S = 0.5        # a flapping link is away for so long, and there for so long
NODES = ("node-1", "node-2", "node-3")
INNER = [(broker, other) for broker in BROKERS for other in (*NODES, "gateway")]
LINKS = [*INNER, *[(other, broker) for broker, other in INNER]]
GATEWAY = ("gateway",)


# --- processes ----------------------------------------------------------------------------------

def kill(world, name, _):
    world.members[name].kill()


def kill_runner(world, name, _):
    member = world.members[name]
    for pid in member.children() if member.alive() else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_all(world, _, __):
    for member in world.members.values():
        member.kill()


def stop(world, name, _):
    return halt(world.members[name].pid) if world.members[name].alive() else None


def stop_runner(world, name, _):
    member = world.members[name]
    ends = [halt(pid) for pid in member.children()] if member.alive() else []
    return lambda: [end() for end in ends]


def halt(pid):
    """Stop a process; returns what lets it go on, should it still be there."""
    def go_on():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    return go_on


def few_descriptors(world, name, _):
    """It may open three more files or connections than it has open."""
    member = world.members[name]
    if not member.alive():
        return None
    pid = member.pid
    used = [int(fd) for fd in os.listdir(f"/proc/{pid}/fd")]
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (max(used) + 4, hard))

    def restore():
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    return restore


def move_clock(offset_s):
    def inject(world, name, _):
        if name not in world.clocks:
            return None
        world.set_clock(name, offset_s)
        return lambda: world.set_clock(name, 0)
    return inject


# --- the network --------------------------------------------------------------------------------

def rule(world, at, sender, verdict):
    """A rule of its own on host `at` for what comes from `sender`; returns what takes it away."""
    table = f"chaos{next(world.order)}"
    inside = world.hosts[at].holder.inside
    match = f"ip saddr {world.hosts[sender].address}"
    subprocess.run(inside("nft", "-f", "-"), check=True, text=True, input=(
        f"table ip {table} {{\n chain in {{\n type filter hook input priority 0;\n"
        f" {match} {verdict}\n }}\n}}\n"))
    return lambda: command(*inside("nft", "delete", "table", "ip", table))


def one_way(world, link, _):
    """What the first sends does not reach the second."""
    return rule(world, link[1], link[0], "drop")


def cut(world, link, _):
    ends = [rule(world, at, sender, "drop") for at, sender in (link, link[::-1])]
    return lambda: [end() for end in ends]


def reset(world, link, _):
    """Every connection between the two ends with its next segment."""
    ends = [rule(world, at, sender, "meta l4proto tcp reject with tcp reset")
            for at, sender in (link, link[::-1])]
    return lambda: [end() for end in ends]


def flap(world, link, _):
    """Cut and there again, once a second, until it is healed."""
    state = {"end": None, "over": False}

    def turn():
        if state["over"]:
            return
        if state["end"]:
            state["end"]()
            state["end"] = None
        else:
            state["end"] = cut(world, link, None)
        world.later(FLAP_S, turn)

    def over():
        state["over"] = True
        if state["end"]:
            state["end"]()
    turn()
    return over


def narrow(world, name, chance):
    """All that the host sends and hears, 1 to 8 Mbit/s."""
    return narrow_to(world, name, f"{chance.choice((1, 2, 4, 8))}mbit")


def narrow_to(world, name, rate):
    host, switch = world.hosts[name], world.network.switch
    ends = [(host.holder.inside, "eth0"), (switch.inside, f"port{host.address.split('.')[-1]}")]
    for inside, device in ends:
        command(*inside("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate,
                        "burst", "16kb", "latency", "300ms"))

    def widen():
        for inside, device in ends:
            with contextlib.suppress(OSError):  # it was narrowed twice, and widened meanwhile
                command(*inside("tc", "qdisc", "del", "dev", device, "root"))
    return widen


def reconnect_storm(world, name, chance):
    """Hundreds of connections to the host's ports, most with octets that mean nothing."""
    address = world.hosts[name].address
    ports = [int(world.http.rsplit(":", 1)[1])] if name == "gateway" else [7700, 7701, 7702]

    def run(seed):
        world.enter()
        storm([(address, port) for port in ports], random.Random(seed))
    threading.Thread(target=run, args=(chance.random(),), daemon=True).start()


# --- the disk -----------------------------------------------------------------------------------

def fill_disk(world, _, __):
    """Not an octet is left on the file system of the gateway's data."""
    path = world.data / "filler"
    with open(path, "wb") as file:
        for size in (1 << 20, 1 << 12):  # as much as fits, then the rest of it
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
    return lambda: path.unlink(missing_ok=True)


# --- the table ----------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    rows: str           # of the failure matrix in README.md
    weight: int         # how often it comes, beside the others
    targets: tuple      # members, hosts, or pairs of hosts; one is drawn
    hold_s: tuple       # it holds for between so long and so long; (0, 0): over at once
    inject: Callable    # (world, target, random) -> what ends it, or None
    keeps: str          # what must hold, besides the invariants
    silence: Callable = lambda target: False  # may online clients get no answer meanwhile?
    network: bool = True  # needs network namespaces


def of_gateway(target):
    return "gateway" in target


def always(_):
    return True


FAULTS = (
    Fault("worker_killed", "F1", 8, tuple(WORKERS), (0, 0), kill,
          "its tasks run elsewhere within 3 s", network=False),
    Fault("runner_killed", "F2", 8, tuple(WORKERS), (0, 0), kill_runner,
          "the worker stays, its other tasks are not charged", network=False),
    Fault("worker_stopped", "F3", 5, tuple(WORKERS), (0.2, 12), stop,
          "its tasks run elsewhere, its late results change nothing", network=False),
    Fault("runner_stopped", "F4", 3, tuple(WORKERS), (0.2, 8), stop_runner,
          "a runner that does not come on is replaced", network=False),
    Fault("broker_killed", "F5", 6, BROKERS, (0, 0), kill,
          "the other broker takes over; workers keep their results", network=False),
    Fault("broker_stopped", "F6", 4, BROKERS, (0.2, 10), stop,
          "no mass expiry when it goes on", network=False),
    Fault("gateway_killed", "F7 F15", 5, GATEWAY, (0, 0), kill,
          "every job goes on from its ledger", always, network=False),
    Fault("gateway_stopped", "F12", 3, GATEWAY, (0.2, 6), stop,
          "results wait at the workers", always, network=False),
    Fault("all_killed", "F28", 1, ("everything",), (0, 0), kill_all,
          "every job goes on from its ledger", always, network=False),
    Fault("link_cut", "F8 F9", 6, tuple(LINKS), (0.5, 12), cut,
          "tasks of the other side run elsewhere"),
    Fault("link_one_way", "F8 F9", 6, tuple(LINKS), (0.5, 12), one_way,
          "what is not listed is sent again, and nothing else"),
    Fault("link_flapping", "F8 F9", 3, tuple(LINKS), (2, 8), flap,
          "work goes on, no task is tried more often than it may"),
    Fault("connections_reset", "F11", 6, tuple(LINKS), (0.1, 0.3), reset,
          "what was lost on the way is sent again"),
    Fault("clients_reset", "F11", 2, (("clients", "gateway"),), (0.1, 0.3), reset,
          "a submit that is repeated under its key makes one job", always),
    Fault("link_narrow", "F13", 4, NODES + BROKERS, (3, 12), narrow,
          "nobody is taken for dead because large messages are slow"),
    Fault("disk_full", "F14", 3, GATEWAY, (1, 6), fill_disk,
          "no job fails; it goes on when there is room again", always),
    Fault("few_descriptors", "F22", 4, (*BROKERS, *WORKERS, "gateway"), (1, 6), few_descriptors,
          "peers that are there are not cut off", of_gateway, network=False),
    Fault("reconnect_storm", "F18 F24", 4, (*BROKERS, "gateway"), (0, 0), reconnect_storm,
          "peers that are there are not cut off", of_gateway),
    Fault("clock_forward", "F21", 2, CLOCKS, (2, 10), move_clock(3600),
          "no lease, deadline or job ends by it"),
    Fault("clock_back", "F21", 2, CLOCKS, (2, 10), move_clock(-3600),
          "no lease, deadline or job ends by it"),
)


@dataclasses.dataclass(frozen=True)
class Event:
    at_s: float
    fault: Fault
    target: object
    hold_s: float
    seed: int

    def __str__(self):
        target = self.target if isinstance(self.target, str) else "-".join(self.target)
        hold = f" for {self.hold_s:.1f} s" if self.hold_s else ""
        return f"{self.fault.name} {target}{hold}"


def schedule(seed, duration_s, network=True):
    """The same list for the same arguments, whatever happens in the run."""
    chance = random.Random(seed)
    table = [fault for fault in FAULTS if network or not fault.network]
    weights = [fault.weight for fault in table]
    events, at_s = [], chance.uniform(*GAP_S)
    while at_s < duration_s:
        fault = chance.choices(table, weights)[0]
        events.append(Event(at_s, fault, chance.choice(fault.targets),
                            chance.uniform(*fault.hold_s), chance.getrandbits(32)))
        at_s += chance.uniform(*GAP_S)
    return events


__all__ = ["FAULTS", "Event", "Fault", "schedule"]
