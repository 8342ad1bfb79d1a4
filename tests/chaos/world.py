"""A whole fleet whose dead programs are started again, as a service manager would.

    with World() as world:          # hosts in network namespaces; World(namespaces=False): loopback
        world.begin()
        world.member("worker-1").kill()
        world.run_until(time.monotonic() + 10)      # tends the fleet, and does what is on the agenda

Each program has a name for life (a member) and a process and a log for each of its lives. One thread
owns the world; others only ask by HTTP, through `world.ask` after `world.enter()`.
"""
import contextlib
import heapq
import itertools
import os
import pathlib
import re
import shutil
import signal
import sys
import threading
import time
import unittest

import zmq

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "nodes"))
from hosts import BIN, LIBC, Fleet, Network, Process, command, until  # noqa: E402
from harness import free_port  # noqa: E402

RESTART_S = 1.0   # RestartSec of the units in deploy/
LOOK_S = 0.02     # between two looks at the processes
STANDSTILL_S = 2.0  # if this program itself gets no turn for so long, the fleet got none either
CLONE_NEWNS = 0x20000
DISK_BYTES = 192 << 20
FAKETIME = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
HOSTS = ("gateway", "broker-1", "broker-2", "node-1", "node-2", "node-3", "clients")
WORKERS = {"worker-1": "node-1", "worker-2": "node-1", "worker-3": "node-2", "worker-4": "node-3"}
BROKERS = ("broker-1", "broker-2")
CLOCKS = ("gateway", "broker-2", "worker-4")  # members whose wall clock can be moved


class Here:
    """This machine in a host's place, where there are no namespaces."""
    address = "127.0.0.1"

    def __init__(self, folder, name):
        self.name, self.folder = name, folder / name
        self.folder.mkdir(parents=True)

    def start(self, name, arguments, environment=None):
        return Process(name, arguments, self.folder, environment)

    def close(self):
        """Nothing was made."""


class Member:
    """One program of the fleet through all its lives."""

    def __init__(self, world, name, host, arguments, environment=None):
        self.world, self.name, self.host = world, name, host
        self.arguments, self.environment = arguments, environment
        self.process, self.lives, self.ended_s, self.killed = None, 0, 0.0, False

    def start(self):
        self.lives += 1
        self.process = self.host.start(f"{self.name}.{self.lives}", self.arguments,
                                       self.environment)
        self.killed = False

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process is not None and self.process.child.poll() is None

    def kill(self, how=signal.SIGKILL):
        """Send a signal; SIGKILL counts as ours."""
        if self.alive():
            self.killed = self.killed or how == signal.SIGKILL
            self.process.child.send_signal(how)

    def children(self):
        """Process ids of what it started: the runner of a worker."""
        return [pid for pid, parent in parents().items() if parent == self.pid]

    def end(self):
        """Let go of a process that is over."""
        self.process.close()
        os.close(self.process.ready)
        self.process = None


def parents():
    """{process id: its parent's} of all processes."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            found[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
    return found


def memory_kib(pid):
    """Resident memory of a process, in KiB; 0 when it is gone."""
    with contextlib.suppress(OSError, AttributeError):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])
    return 0


def publish(line):
    print(f"chaos: {line}", flush=True)


class World(Fleet):
    def __init__(self, namespaces=True, models=("fashion_cnn",), workers=(), clocks=(), gateway=()):
        super().__init__(models)
        self.began_s = time.monotonic()
        self.network = None
        self.data = self.folder / "data"
        self.data.mkdir()
        if namespaces:
            with contextlib.suppress(unittest.SkipTest):
                self.network = Network()
                self.mount_disk()
        self.namespaces = self.network is not None
        self.hosts = {name: self.network.host(name) if self.network else Here(self.folder / "hosts", name)
                      for name in HOSTS}
        self.members, self.exits, self.agenda, self.standstills = {}, [], [], []
        self.order, self.lock = itertools.count(), threading.Lock()
        self.progress_s, self.stall_s = None, 0.0
        self.clocks = clocks if FAKETIME else ()
        self.worker_options, self.gateway_options = workers, gateway
        self.keep_logs = None  # a folder: where they go at the end

    # --- set-up -------------------------------------------------------------------------------

    def begin(self):
        """Start everything; returns when each worker is there and every model is ready."""
        self.http = f"{self.hosts['gateway'].address}:{8000 if self.network else free_port()}"
        public = self.gateway_key() if self.network else None
        self.brokers = [self.start_broker_of(name, public) for name in BROKERS]
        self.add("gateway", "gateway", [
            BIN / "convoy-gateway", "--data", self.data, "--models", self.folder / "gateway/models",
            "--http", self.http, "--http-insecure", "--brokers", ",".join(self.brokers),
            *self.gateway_options])
        joining = ["--brokers", self.brokers[0] + "," + self.brokers[1]]
        if self.network:
            with self.hosts["clients"].entered():
                joining = ["--join", self.post("/v1/tokens", {"uses": len(WORKERS)})["token"]]
        for name, host in WORKERS.items():
            where = self.hosts[host].folder
            self.add(name, host, [
                BIN / "convoy-worker", "--name", name, "--threads", "1", *joining,
                "--state", where / name, "--store", where / "store", *self.worker_options])
        with self.here():
            self.wait_workers(len(WORKERS))
            for model in (self.folder / "gateway/models").iterdir():
                self.wait_model(model.name)

    def mount_disk(self):
        """A file system for the gateway's data alone, small enough to be filled. It is seen by this
        process and what it starts from here on, and is gone with them."""
        if LIBC.unshare(CLONE_NEWNS):
            raise OSError("no mount namespace")
        command("mount", "--make-rprivate", "/")
        image = self.folder / "disk.img"
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        command("mkfs.ext4", "-q", "-m", "0", "-F", image)
        command("mount", "-o", "loop", image, self.data)

    def gateway_key(self):
        public, secret = (key.decode() for key in zmq.curve_keypair())
        (self.data / "gateway.key").touch(0o600)
        (self.data / "gateway.key").write_text(f"public {public}\nsecret {secret}\nrole gateway\n")
        return public

    def start_broker_of(self, name, gateway_public):
        """Its address, with its key where there are keys."""
        host = self.hosts[name]
        address = f"tcp://{host.address}:{7700 if self.network else free_port()}"
        keys = ["--gateway-keys", gateway_public] if gateway_public else []
        self.add(name, name, [BIN / "convoy-broker", "--listen", address, "--state",
                              host.folder / "state", *keys])
        if not gateway_public:
            return address
        key = (host.folder / "state/broker.key").read_text()
        return f"{address}={re.search('^public (.*)$', key, re.M)[1]}"

    def add(self, name, host, arguments):
        """Start a member for the first time; returns when it is ready."""
        settings = None
        if name in self.clocks:
            self.set_clock(name, 0)
            settings = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                        "FAKETIME_TIMESTAMP_FILE": str(self.clock_file(name)),
                        "FAKETIME_CACHE_DURATION": "1", "NO_FAKE_STAT": "1"}
        member = self.members[name] = Member(self, name, self.hosts[host], arguments, settings)
        member.start()
        self.wait_ready(member)

    @staticmethod
    def wait_ready(member):
        ready = os.dup(member.process.ready)  # endpoints() closes what it reads
        try:
            member.process.endpoints()
        finally:
            member.process.ready = ready

    def clock_file(self, name):
        return self.folder / f"clock-{name}"

    def set_clock(self, name, offset_s):
        """The member's wall clock is so far from the true one from now on (within a second)."""
        part = self.folder / "clock.part"
        part.write_text(f"{offset_s:+d}s\n")
        part.rename(self.clock_file(name))

    # --- asking -------------------------------------------------------------------------------

    def here(self):
        """This thread asks from the clients' host meanwhile."""
        return self.hosts["clients"].entered() if self.network else contextlib.nullcontext()

    def enter(self):
        """This thread asks from the clients' host for the rest of its life."""
        if self.network:
            with open(f"/proc/{self.hosts['clients'].holder.pid}/ns/net") as theirs:
                self.hosts["clients"].enter(theirs)

    def ledger(self):
        """Paths of the ledger's database and of its write-ahead log."""
        database = next(self.data.rglob("*.sqlite"))
        return database, database.with_name(database.name + "-wal")

    def ledger_bytes(self):
        return sum(path.stat().st_size for path in self.ledger() if path.exists())

    # --- time ---------------------------------------------------------------------------------

    def seconds(self):
        return time.monotonic() - self.began_s

    def later(self, delay_s, action):
        """Do it after so long, in the thread that runs the world."""
        heapq.heappush(self.agenda, (time.monotonic() + delay_s, next(self.order), action))

    def run_until(self, end_s, stop=lambda: False):
        """Tend the fleet, and do what is due, until then or until `stop()`."""
        last_s = time.monotonic()
        while last_s < end_s and not stop():
            now_s = time.monotonic()
            if now_s - last_s > STANDSTILL_S:
                publish(f"{self.seconds():.1f} s this machine stood still for "
                        f"{now_s - last_s:.1f} s: no fault of the fleet's")
                self.standstills.append((last_s, now_s))
            last_s = now_s
            while self.agenda and self.agenda[0][0] <= time.monotonic():
                heapq.heappop(self.agenda)[2]()
            self.tend()
            time.sleep(LOOK_S)  # why: between two looks at the processes

    def tend(self):
        """Start again what is dead, a moment after it died."""
        for member in self.members.values():
            if member.process is None:
                if time.monotonic() - member.ended_s >= RESTART_S:
                    member.start()
            elif not member.alive():
                code = member.process.child.returncode
                self.exits.append((self.seconds(), member.name, code, member.killed))
                if not member.killed:
                    publish(f"{self.seconds():.1f} s {member.name} ended by itself: {code}")
                member.end()
                member.ended_s = time.monotonic()

    def fell(self):
        """Members that ended by a signal that nobody sent."""
        return [(at, name, code) for at, name, code, killed in self.exits
                if code < 0 and not killed]

    def advanced(self):
        """Somewhere a row was finished: a stall is the time between two of these."""
        with self.lock:
            now = time.monotonic()
            if self.progress_s is not None:
                self.stall_s = max(self.stall_s, now - self.progress_s)
            self.progress_s = now

    def memory(self):
        """{name: resident KiB} of gateway and brokers; 0 for one that is dead just now."""
        return {name: memory_kib(member.pid) if member.alive() else 0
                for name, member in self.members.items() if name not in WORKERS}

    # --- the end ------------------------------------------------------------------------------

    def __exit__(self, kind, error, trace):
        for member in reversed(self.members.values()):
            if member.process:
                member.end()
        if self.keep_logs:
            self.keep_logs.mkdir(parents=True, exist_ok=True)
            logs = [log for folder in (self.folder / "hosts", self.network.folder if self.network else None)
                    if folder for log in folder.glob("*/*.log")]
            for log in logs:
                shutil.copy(log, self.keep_logs)
        if self.network:
            self.network.__exit__(None, None, None)
            command("umount", "--lazy", self.data)
        shutil.rmtree(self.folder, ignore_errors=True)


__all__ = ["BROKERS", "CLOCKS", "FAKETIME", "WORKERS", "Member", "World", "command", "memory_kib",
           "publish", "until"]
