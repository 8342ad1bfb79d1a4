"""Hosts that share nothing but a network, on this machine.

    with Network() as network:
        a, b = network.host("a"), network.host("b")
        a.run(["ip", "address"])
        site = a.stack.enter_context(Site(a))      # a fleet (harness.py) whose processes run on a

A host is a network namespace with one interface, eth0, mounts and a host name of its own; it lives
as long as a process that holds them. A switch, a namespace with a bridge, joins them: 10.0.0.1,
10.0.0.2, ...
Nothing is left when the test ends, however it ends: who holds a namespace dies with the test.

Needs root and a kernel with these namespaces; without them `Network()` skips the test and says so.
"""
import contextlib
import ctypes
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import BIN, PATIENCE_S, Fleet, Process, until  # noqa: E402

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
PREFIX = "10.0.0."


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def command(*arguments):
    """Run a command of the system, which must work."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")


class Holder:
    """A process that does nothing but hold the namespaces of a host: network, mounts, host name."""

    def __init__(self, name):
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "--uts", "sh", "-c",
             f"hostname {name} && echo held && exec sleep infinity"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=die_with_parent)
        if self.process.stdout.readline() != "held\n":
            raise OSError(self.process.communicate()[1].strip())

    @property
    def pid(self):
        return self.process.pid

    def inside(self, *arguments):
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "--", *map(str, arguments)]

    def close(self):
        self.process.kill()
        self.process.communicate()


class Host:
    def __init__(self, network, name, number):
        self.name, self.address = name, f"{PREFIX}{number}"
        self.folder = network.folder / name
        self.home = self.folder / "home"
        self.home.mkdir(parents=True)
        self.holder = Holder(name)
        self.stack = contextlib.ExitStack()
        port = f"port{number}"
        command("ip", "link", "add", "eth0", "netns", self.holder.pid, "type", "veth", "peer",
                "name", port, "netns", network.switch.pid)
        for line in (["address", "add", f"{self.address}/24", "dev", "eth0"],
                     ["link", "set", "eth0", "up"], ["link", "set", "lo", "up"]):
            command(*self.holder.inside("ip", *line))
        command(*network.switch.inside("ip", "link", "set", port, "master", "switch", "up"))

    def environment(self, more=None):
        """A user's on a machine of its own: nothing of ours but the path to the programs."""
        return {"HOME": str(self.home), "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8", **(more or {})}

    def inside(self, *arguments, environment=None):
        """The command line that runs these arguments here, in the home folder."""
        settings = [f"{key}={value}" for key, value in self.environment(environment).items()]
        return self.holder.inside("env", "-C", self.home, "-i", *settings, *arguments)

    def start(self, name, arguments, environment=None):
        """A program of the fleet on this host: a harness.Process that writes its addresses."""
        return Process(name, self.inside(*arguments, environment=environment), self.folder)

    def run(self, arguments, **more):
        """Run a command to its end; subprocess.CompletedProcess with texts."""
        return subprocess.run(self.inside(*arguments), stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE_S, **more)

    def mount_empty(self, path):
        """An empty folder of its own there, for this host alone."""
        command(*self.holder.inside("mount", "-t", "tmpfs", "none", path))

    @contextlib.contextmanager
    def entered(self):
        """This thread's network is the host's: sockets made meanwhile stay there."""
        with open("/proc/thread-self/ns/net") as ours, \
                open(f"/proc/{self.holder.pid}/ns/net") as theirs:
            self.enter(theirs)
            try:
                yield
            finally:
                self.enter(ours)

    @staticmethod
    def enter(namespace):
        if LIBC.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")

    def say(self, device, datagram):
        """Put a datagram on the device: to nobody."""
        address = "127.255.255.255" if device == "lo" else f"{PREFIX}255"
        with self.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
            speaker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            speaker.sendto(datagram, (address, 9))

    @contextlib.contextmanager
    def capture(self, path, device="eth0"):
        """Everything that passes the device meanwhile, by tcpdump, in a file."""
        process = subprocess.Popen(
            self.holder.inside("tcpdump", "-i", device, "-U", "-s", "0", "-B", "65536", "-Z",
                               "root", "--immediate-mode", "-w", path), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            said = process.stderr.readline()
            while said and "listening on" not in said:
                said = process.stderr.readline()
            if not said:
                raise AssertionError("tcpdump ended before it listened")
            yield
            end = os.urandom(16).hex().encode()  # what came before it is in the file as well
            self.say(device, end)
            until("the capture to be whole", lambda: end in pathlib.Path(path).read_bytes())
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)

    def close(self):
        self.stack.close()
        self.holder.close()


class Network(contextlib.AbstractContextManager):
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="convoy-hosts-"))
        self.hosts = []
        try:
            if os.geteuid() != 0:
                raise OSError("this is not root")
            self.switch = Holder("switch")
            command(*self.switch.inside("ip", "link", "add", "switch", "type", "bridge"))
            command(*self.switch.inside("ip", "link", "set", "switch", "up"))
        except OSError as error:
            shutil.rmtree(self.folder)
            raise unittest.SkipTest(f"no network namespaces here: {error}") from error

    def host(self, name):
        host = Host(self, name, len(self.hosts) + 1)
        self.hosts.append(host)
        return host

    def __exit__(self, kind, error, trace):
        for host in reversed(self.hosts):
            host.close()
        self.switch.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Site(Fleet):
    """A fleet whose broker and gateway run on one host; workers run where they are told."""

    def __init__(self, host, models=("fashion_cnn",)):
        super().__init__(models)
        self.host = host

    def start(self, name, arguments, environment=None, host=None):
        count = self.counts[name] = self.counts.get(name, 0) + 1
        process = (host or self.host).start(f"{name}-{count}", arguments, environment)
        self.processes.append(process)
        return process

    def ask(self, *arguments, **more):
        with self.host.entered():
            return super().ask(*arguments, **more)


__all__ = ["BIN", "PATIENCE_S", "Host", "Network", "Process", "Site", "until"]
