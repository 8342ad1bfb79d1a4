"""A real fleet on free ports, and the means to wait for what happens in it.

    with Fleet() as fleet:
        fleet.start_broker(); fleet.start_gateway()
        worker = fleet.start_worker()
        fleet.wait_for("worker", lambda: len(fleet.get("/v1/workers")["workers"]) == 1)

Every process writes its log to a file of its own in the fleet's folder; when a test fails, the logs'
ends are printed. Nothing here sleeps for a guess: `until` asks again until a condition holds or its
time is over, and `Process.wait_event` reads the log as it grows.
"""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("CONVOY_BIN", ROOT / "build/bin"))
DATA = ROOT / "tests/data"
SANITIZED = re.search(r"address|thread", BIN.parent.name) is not None  # ten times slower
PATIENCE_S = 180.0 if SANITIZED else 60.0  # for a loaded machine; no pass mark is made of this
POLL_S = 0.01       # between two looks at a condition


def until(what, condition, patience=PATIENCE_S, poll_s=POLL_S):
    """Ask `condition` until it gives something true; returns that. Fails with `what` in words."""
    end = time.monotonic() + patience
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"still waiting after {patience} s: {what}")
        time.sleep(poll_s)  # why: between two looks at a condition


class Process:
    """One program of the fleet, its log, and its end."""

    def __init__(self, name, arguments, folder, environment=None):
        self.name = name
        self.log = folder / f"{name}.log"
        reader, writer = os.pipe()
        self.stream = open(self.log, "ab")
        self.child = subprocess.Popen(
            [str(a) for a in arguments] + ["--ready-fd", str(writer)], stdin=subprocess.DEVNULL,
            stdout=self.stream, stderr=self.stream, pass_fds=[writer],
            env={**os.environ, **(environment or {})})
        os.close(writer)
        self.ready = reader

    @property
    def pid(self):
        return self.child.pid

    def endpoints(self):
        """Wait until it is ready; {"control": "tcp://..."} as it published them."""
        with open(self.ready) as pipe:
            line = pipe.readline()
        if not line:
            raise AssertionError(f"{self.name} ended with {self.child.wait()}: {self.text()[-2000:]}")
        return dict(part.split("=", 1) for part in line.split() if "=" in part)

    def text(self):
        return self.log.read_text(errors="replace")

    def events(self, event):
        """Every log line of `event` so far, as a dictionary of its fields."""
        return [fields for fields in map(logfmt, self.text().splitlines())
                if fields.get("event") == event]

    def wait_event(self, event, count=1, patience=PATIENCE_S):
        def seen():
            found = self.events(event)
            if len(found) >= count:
                return found
            if self.child.poll() is not None:
                raise AssertionError(f"{self.name} ended before {event}: {self.text()[-2000:]}")
            return None
        return until(f"{self.name} to log {event}", seen, patience)[count - 1]

    def kill(self, how=signal.SIGKILL):
        self.child.send_signal(how)
        return self.child.wait(PATIENCE_S)

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.stream.close()


def logfmt(line):
    """key=value and key="quoted value" pairs of one log line."""
    fields, rest = {}, line.strip()
    while rest:
        key, equals, rest = rest.partition("=")
        if not equals:
            break
        if rest.startswith('"'):
            end = 1
            while end < len(rest) and rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            fields[key.split()[-1]] = rest[1:end]
            rest = rest[end + 1:].lstrip()
        else:
            value, _, rest = rest.partition(" ")
            fields[key.split()[-1]] = value
    return fields


class Answer:
    """An HTTP answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    def json(self):
        return json.loads(self.body)


class Fleet(contextlib.AbstractContextManager):
    def __init__(self, models=("fashion_cnn",)):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="convoy-test-"))
        self.processes = []
        self.broker = self.gateway = None
        self.control = self.http = None
        self.tls = None  # an ssl.SSLContext: ask by https
        self.key = None  # sent as Authorization: Bearer
        self.counts = {}
        for model in models:
            self.add_model(model)

    # --- models -------------------------------------------------------------------------------

    def add_model(self, name, source=None, version="1", config=None):
        """Put a model file into the repository folder that the gateway will read."""
        folder = self.folder / "gateway/models" / name
        (folder / version).mkdir(parents=True, exist_ok=True)
        shutil.copy(source or DATA / f"{name}.onnx", folder / version / "model.onnx")
        if config is not None:
            (folder / "config.json").write_text(json.dumps(config))

    def add_model_bytes(self, name, model, version="1", config=None):
        """The same with a model that the test made."""
        source = self.folder / "made.onnx"
        source.write_bytes(model)
        self.add_model(name, source, version, config)

    # --- processes ----------------------------------------------------------------------------

    def start(self, name, arguments, environment=None):
        count = self.counts[name] = self.counts.get(name, 0) + 1
        process = Process(f"{name}-{count}", arguments, self.folder, environment)
        self.processes.append(process)
        return process

    def start_broker(self, *more):
        """Start one; after a kill, start another at the same address."""
        listen = self.control or "tcp://127.0.0.1:0"
        self.broker = self.start("broker", [BIN / "convoy-broker", "--listen", listen, *more])
        self.control = self.broker.endpoints()["control"]
        return self.broker

    def start_gateway(self, *more):
        address = self.http or "127.0.0.1:0"
        self.gateway = self.start("gateway", [
            BIN / "convoy-gateway", "--brokers", self.control, "--http", address,
            "--data", self.folder / "gateway", *more])
        bound = self.gateway.endpoints()
        self.http = bound.get("https") or bound["http"].removeprefix("http://")
        return self.gateway

    def start_worker(self, *more, environment=None):
        worker = self.start("worker", [
            BIN / "convoy-worker", "--brokers", self.control, "--threads", "1",
            "--store", self.folder / "store", *more], environment)
        worker.endpoints()
        return worker

    def start_all(self, workers=1):
        self.start_broker()
        self.start_gateway()
        started = [self.start_worker() for _ in range(workers)]
        self.wait_workers(workers)
        return started

    def wait_workers(self, count):
        until(f"{count} workers", lambda: len(self.workers()) == count)

    def workers(self):
        """Those that the broker knows; none while the gateway has no broker."""
        answer = self.ask("GET", "/v1/workers")
        return answer.json()["workers"] if answer.status == 200 else []

    def wait_model(self, name):
        until(f"model {name}", lambda: self.ask("GET", f"/v2/models/{name}/ready").status == 200)

    # --- HTTP ---------------------------------------------------------------------------------

    def ask(self, method, path, body=None, headers=None, timeout=PATIENCE_S):
        host, port = self.http.rsplit(":", 1)
        if self.tls:
            connection = http.client.HTTPSConnection(host, int(port), timeout=timeout, context=self.tls)
        else:
            connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        if self.key:
            headers = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def get(self, path):
        answer = self.ask("GET", path)
        if answer.status != 200:
            raise AssertionError(f"GET {path}: {answer.status} {answer.body[:500]!r}")
        return answer.json()

    def post(self, path, body=None, headers=None):
        answer = self.ask("POST", path, body, headers)
        if answer.status not in (200, 201, 202):
            raise AssertionError(f"POST {path}: {answer.status} {answer.body[:500]!r}")
        return answer.json()

    # --- dataset jobs -------------------------------------------------------------------------

    def upload(self, path):
        path = pathlib.Path(path)
        return self.upload_bytes(path.read_bytes(), path.name)

    def upload_bytes(self, data, name="data"):
        answer = self.ask("PUT", f"/v1/files?name={urllib.parse.quote(name)}", data)
        if answer.status not in (200, 201):
            raise AssertionError(f"upload of {name}: {answer.status} {answer.body[:500]!r}")
        return answer.json()["id"]

    def score(self, file_id, model="fashion_cnn", output_format="npy", **more):
        return self.post("/v1/batches", {
            "input_file_id": file_id, "endpoint": f"/v2/models/{model}/infer",
            "completion_window": "24h", "output_format": output_format, **more})["id"]

    def batch(self, batch_id):
        """The batch object; None while the gateway does not answer, as it may in these tests."""
        try:
            answer = self.ask("GET", f"/v1/batches/{batch_id}")
        except (OSError, http.client.HTTPException):
            return None
        return answer.json() if answer.status == 200 else None

    def wait_batch(self, batch_id, patience=PATIENCE_S, poll_s=POLL_S):
        def ended():
            batch = self.batch(batch_id)
            done = batch and batch["status"] in ("completed", "failed", "cancelled", "expired")
            return batch if done else None
        return until(f"batch {batch_id} to end", ended, patience, poll_s)

    def wait_rows(self, batch_id, rows):
        """Wait until at least so many rows are committed."""
        return until(f"{rows} rows of {batch_id}", lambda: (
            (batch := self.batch(batch_id)) and batch["request_counts"]["completed"] >= rows
            and batch))

    def content(self, file_id):
        answer = self.ask("GET", f"/v1/files/{file_id}/content")
        if answer.status != 200:
            raise AssertionError(f"content of {file_id}: {answer.status} {answer.body[:500]!r}")
        return answer.body

    # --- the end ------------------------------------------------------------------------------

    def logs(self, lines=40):
        return "\n".join(f"--- {p.name} (exit {p.child.poll()})\n" +
                         "\n".join(p.text().splitlines()[-lines:]) for p in self.processes)

    def __exit__(self, kind, error, trace):
        if kind and not issubclass(kind, unittest.SkipTest):
            print(self.logs())
        for process in reversed(self.processes):
            process.close()
        shutil.rmtree(self.folder, ignore_errors=True)


# --- data that tests make ---------------------------------------------------------------------

def npy_bytes(descr, shape, data):
    """A NumPy .npy file, made by hand: the format's own description is the oracle."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def npy_parts(raw):
    """(descr, shape, data) of a .npy file."""
    size = struct.unpack_from("<H", raw, 8)[0]
    header = eval(raw[10:10 + size], {"__builtins__": {}})  # our own programs wrote it
    return header["descr"], header["shape"], raw[10 + size:]


def images(rows, seed=1):
    """Fashion-MNIST-shaped random pictures."""
    import random
    return npy_bytes("|u1", (rows, 28, 28), random.Random(seed).randbytes(rows * 784))


def run_reference(folder, model, inputs):
    """The same rows through convoy-run, without a fleet: bytes of each output .npy."""
    out = pathlib.Path(folder) / "reference"
    arguments = [BIN / "convoy-run", model, "--output-dir", out]
    for name, path in inputs.items():
        arguments += ["--input", f"{name}={path}"]
    subprocess.run([str(a) for a in arguments], check=True, stdout=subprocess.DEVNULL)
    listing = json.loads((out / "outputs.json").read_text())
    return [(out / entry["file"]).read_bytes() for entry in listing["outputs"]]


def make_certificate(folder, name="server", common_name="localhost"):
    """A key and a certificate that it signed itself, for this machine: NAME.key and NAME.crt."""
    cert, key = (pathlib.Path(folder) / f"{name}.{kind}" for kind in ("crt", "key"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={common_name}", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True)
    return cert, key


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
