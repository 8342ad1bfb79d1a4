"""A fleet started by `convoy up` on one host, as the page deploy/ADD-A-NODE.md starts it."""
import contextlib
import json
import re
import signal
import subprocess

import numpy

from hosts import BIN, PATIENCE_S, Network, until
import onnx_bytes as onnx


class Up(contextlib.AbstractContextManager):
    """Broker and gateway (and workers, if asked for) on `host`; what a user sees of them."""

    def __init__(self, host, workers=0, broker=None):
        self.host = host
        self.broker = broker or f"tcp://{host.address}:7700"
        self.process = subprocess.Popen(
            host.inside("convoy", "up", "--workers", workers, "--broker", self.broker),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.said = ""
        while "Ctrl-C" not in self.said:
            line = self.process.stdout.readline()
            self.said += line
            if not line:
                raise AssertionError(f"convoy up ended: {self.said}")

    def convoy(self, *arguments, fails=False):
        """A command on the host of the fleet; its stdout, or its stderr when it is to fail."""
        done = self.host.run(["convoy", *map(str, arguments)])
        if bool(done.returncode) != fails:
            raise AssertionError(
                f"convoy {arguments}: {done.returncode} {done.stdout}{done.stderr}")
        return done.stderr if fails else done.stdout

    def token(self, *arguments):
        line = self.convoy("token", "create", *arguments).strip()
        assert re.fullmatch(r"cvt1_[A-Za-z0-9_-]+", line), line
        return line

    def nodes(self):
        return {node["name"]: node
                for node in json.loads(self.convoy("nodes", "list", "--json"))["data"]}

    def workers(self):
        return json.loads(self.convoy("workers", "--json"))["workers"]

    def wait_workers(self, count):
        until(f"{count} workers", lambda: len(self.workers()) == count)

    def logs(self):
        folder = self.host.home / "convoy-data/logs"
        return "\n".join(f"--- {path.name}\n{path.read_text()[-4000:]}"
                         for path in sorted(folder.glob("*.log")))

    def __exit__(self, kind, error, trace):
        if kind:
            print(self.logs())
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.said += self.process.communicate(timeout=PATIENCE_S)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def linear_model(marker=""):
    """y = x @ w, 138 kB of weights and a text of one's own: bytes, and w."""
    w = numpy.random.default_rng(7).standard_normal((784, 44)).astype(numpy.float32)
    model = onnx.onnx_model([onnx.node("MatMul", ["x", "w"], ["y"])],
                            [onnx.value("x", "FP32", ["n", 784])],
                            [onnx.value("y", "FP32", ["n", 44])],
                            [onnx.constant("w", w)])
    return model + (onnx.field(6, marker) if marker else b""), w


__all__ = ["BIN", "PATIENCE_S", "Network", "Up", "linear_model", "until"]
