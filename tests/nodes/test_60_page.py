"""deploy/ADD-A-NODE.md, word by word, on hosts that have nothing of ours: it adds a node."""
import contextlib
import re
import signal
import subprocess
import unittest

from hosts import BIN, PATIENCE_S, until
from harness import ROOT
from up import Network

PAGE = ROOT / "deploy/ADD-A-NODE.md"
LINE = "cvt1_..."  # stands for what `convoy token create` prints
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"


def blocks():
    """(heading, shell block without comments) of the page, in its order."""
    heading = ""
    for found in re.finditer(r"^## ([^\n]*)$|^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S):
        if found.group(1):
            heading = found.group(1)
        else:
            yield heading, re.sub(r"\s+#.*$", "", found.group(2), flags=re.M).strip()


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        network = cls.enterClassContext(Network())
        cls.fleet, cls.new = network.host("fleet"), network.host("worker2")
        cls.blocks = list(blocks())
        # A machine of its own: what is installed, and where services keep things, is empty there.
        for host in (cls.fleet, cls.new):
            host.mount_empty("/usr/local")
        cls.running = cls.enterClassContext(contextlib.ExitStack())

    def take(self, heading):
        """The next block of the page, which must stand under this heading."""
        found, block = self.blocks.pop(0)
        self.assertEqual(found, heading)
        return block

    def shell(self, host, script, cwd=None):
        """Run it as a user would: the programs are those that were installed."""
        return subprocess.Popen(
            host.inside("bash", "-euo", "pipefail", "-c", f"cd {cwd or host.home}; {script}",
                        environment={"PATH": f"/usr/local/bin:{SYSTEM}"}),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def done(self, host, script, cwd=None):
        process = self.shell(host, script, cwd)
        said, _ = process.communicate(timeout=PATIENCE_S)
        self.assertEqual(process.returncode, 0, f"{script}\n{said}")
        return said

    def stays(self, host, script):
        """A program that runs until it is told to end."""
        process = self.shell(host, f"exec {script}")

        def end():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)
        self.running.callback(end)
        return process

    def install(self, host):
        """From the tree that is built already: compiling it once more proves nothing here."""
        block = self.take("On the new machine")
        self.assertEqual(block, "deploy/setup build && make && make install")
        self.done(host, f"{block} BIN={BIN}", cwd=ROOT)

    def test_the_page_adds_a_node(self):
        self.done(self.fleet, f"make install BIN={BIN}", cwd=ROOT)  # the fleet is there already
        self.stays(self.fleet, self.take("On the machine of the fleet"))
        until("the fleet to be up", lambda: self.shell(
            self.fleet, "convoy workers").wait(PATIENCE_S) == 0)
        create = self.take("On the machine of the fleet")
        said = self.done(self.fleet, f"{create} 2>/dev/null")
        self.assertRegex(said, r"\Acvt1_\S+\n\Z")
        self.install(self.new)
        join = self.take("On the new machine")
        self.assertIn(LINE, join)
        worker = self.stays(self.new, join.replace(LINE, said.strip()))
        self.wait_connected("worker2")
        worker.kill()  # "also after a crash"
        worker.wait()
        worker = self.stays(self.new, self.take("On the new machine"))
        self.wait_connected("worker2")
        listing = self.done(self.fleet, self.take("Is it there?"))
        self.assertRegex(listing, r"worker2 +worker +connected")
        drain, resume, rotate, revoke = self.take("Later").splitlines()
        self.assertEqual(self.blocks, [])
        self.done(self.fleet, drain)
        self.assertEqual(worker.wait(PATIENCE_S), 0)
        self.done(self.fleet, resume)
        worker = self.stays(self.new, "convoy-worker")
        self.wait_connected("worker2")
        self.assertIn("has a new key", self.done(self.fleet, rotate))
        self.assertIn("worker2 is revoked now", self.done(self.fleet, revoke))
        until("the worker to be cut off", lambda: "connected" not in self.nodes())

    def nodes(self):
        return "\n".join(line for line in self.done(self.fleet, "convoy nodes list").splitlines()
                         if line.startswith("worker2"))

    def wait_connected(self, name):
        until(f"{name} to be connected", lambda: re.search(rf"{name} +worker +connected",
                                                           self.nodes()))

    def test_the_page_names_what_there_is(self):
        text = PAGE.read_text()
        for option in re.findall(r"`(--[a-z-]+)", text):
            said = subprocess.run([BIN / "convoy-worker", "--help"], capture_output=True,
                                  text=True).stdout
            for command in ("token", "up", "nodes"):
                said += subprocess.run([BIN / "convoy", command, "--help"], capture_output=True,
                                       text=True).stdout
            self.assertIn(option, said)


if __name__ == "__main__":
    unittest.main()
