"""Memory and descriptors have bounds whatever peers do: F12, F19, F22 and storms of connections.

Bounds of memory are wide (a sanitizer's shadow counts too) and far below what would be kept without
the bound that is tested.
"""
import contextlib
import http.client
import json
import os
import pathlib
import select
import signal
import socket
import struct
import threading
import time
import unittest

import numpy

import oip
from harness import BIN, PATIENCE_S, SANITIZED, Fleet, npy_bytes, until
from onnx_bytes import constant, echo, node, onnx_model, value
from wire import Gateway, counters

MIB = 1 << 20
KIB = 1 << 10
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 32)
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
RSS_SLACK = (3 if SANITIZED else 1)


def status_kib(process, name):
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(text.split(name + ":")[1].split()[0])


def resident(process):
    return status_kib(process, "VmRSS") * KIB


def peak(process):
    return status_kib(process, "VmHWM") * KIB


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def address_of(endpoint):
    host, port = endpoint.split("://")[-1].rsplit(":", 1)
    return host, int(port)


def shake_hands(address):
    """A connection on which ZMTP frames may be sent: what libzmq's DEALER says first, by hand."""
    raw = socket.create_connection(address, PATIENCE_S)
    raw.sendall(GREETING + READY)
    got = b""
    while len(got) < 64 + 2 or len(got) < 66 + got[65]:
        part = raw.recv(4096)
        if not part:
            raise AssertionError(f"the broker hung up in its handshake, after {got!r}")
        got += part
    return raw


def pour(raw, octets, most):
    """Send `octets` again and again until the other side hangs up; how many it took of `most`.

    The end is looked for: a peer that hung up with its window closed lets a sender wait for long."""
    sent = 0
    raw.setblocking(False)
    with contextlib.suppress(ConnectionError):
        while sent < most:
            readable, writable, _ = select.select([raw], [raw], [], PATIENCE_S)
            if not (readable or writable) or (readable and not raw.recv(4096)):
                break
            if writable:
                sent += raw.send(octets)
    return sent


class Endless(unittest.TestCase):
    """F19: a peer that speaks ZMTP and sends a message without an end, or too large a one."""

    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(()))
        # Python is silent for long while it takes 64 MiB.
        cls.fleet.start_broker("--heartbeat-ms", "10000", "--lease-ms", "60000")
        cls.fleet.start_worker()
        cls.gateway = cls.enterClassContext(Gateway(cls.fleet.control))
        cls.version = cls.gateway.add_model(echo())
        control = address_of(cls.fleet.control)
        cls.ports = {"control": control, "data": (control[0], cls.gateway.terms["DATA_PORT"])}

    def beside(self, work):
        """Do it in a thread while the session of before beats on."""
        thread = threading.Thread(target=work)
        thread.start()
        until("the peer to be cut", lambda: (self.gateway.pump(0.05), not thread.is_alive())[1])

    def serves(self):
        self.assertIsNone(self.fleet.broker.child.poll(), "the broker ended")
        x = numpy.float32([[1, 2, 3, 4]])
        result = self.gateway.result(self.gateway.submit(self.version, [{"x": x}])[0])
        self.assertEqual(result["STATUS"], 0)
        self.assertEqual(self.fleet.broker.events("session_lost"), [])

    def cut(self, port, octets, most, more_rss):
        """The peer is hung up on before it has sent `most`, and the broker's peak stays bounded."""
        before = peak(self.fleet.broker)
        with shake_hands(self.ports[port]) as raw:
            taken = []
            self.beside(lambda: taken.append(pour(raw, octets, most)))
        self.assertLess(taken[0], most, "all of it was taken")
        self.serves()
        self.assertLess(peak(self.fleet.broker) - before, more_rss * RSS_SLACK)

    def test_a_message_that_never_ends_costs_its_peer_the_connection(self):
        for port in self.ports:
            for size, most in ((1, 32 * MIB), (100, 256 * MIB)):
                with self.subTest(port=port, part=size):
                    before = len(self.fleet.broker.events("message_endless"))
                    part = bytes((1, size)) + bytes(size)
                    self.cut(port, part * (200000 // len(part)), most, 256 * MIB)
                    self.fleet.broker.wait_event("message_endless", before + 1)

    def test_a_million_parts_in_one_message_are_dropped_with_their_peer(self):
        message = b"\x01\x01x" * 999_999 + b"\x00\x01x"
        for port in self.ports:
            with self.subTest(port=port):
                before = counters(self.gateway)["messages_malformed"]
                self.cut(port, message, 64 * MIB, 512 * MIB)
                self.assertGreater(counters(self.gateway)["messages_malformed"], before)

    def test_a_frame_of_two_gigabytes_is_cut_at_its_head(self):
        for port in self.ports:
            with self.subTest(port=port):
                head = b"\x02" + struct.pack(">Q", 2 << 30)
                self.cut(port, head + bytes(64 * KIB), 64 * MIB, 16 * MIB)

    def test_the_largest_message_of_a_session_comes_through(self):
        """64 MiB in 64 frames: more than may come before HELLO, and less than endless."""
        x = numpy.ones((4 * MIB - 1, 4), numpy.float32)
        result = self.gateway.result(self.gateway.submit(self.version, [{"x": x}])[0])
        self.assertEqual(result["STATUS"], 0)
        numpy.testing.assert_array_equal(result["outputs"]["y"], x)
        self.serves()


class Descriptors(unittest.TestCase):
    """F22: more connections than descriptors. For the broker see test_62_bad_frames.py."""

    def test_a_gateway_with_few_descriptors_serves_those_that_are_there_and_recovers(self):
        with Fleet(()) as fleet:
            fleet.add_model_bytes("echo", echo())
            fleet.start_broker()
            fleet.gateway = fleet.start("gateway", [
                "prlimit", "--nofile=256:256", BIN / "convoy-gateway", "--brokers", fleet.control,
                "--http", "127.0.0.1:0", "--data", fleet.folder / "gateway"])
            fleet.http = fleet.gateway.endpoints()["http"].removeprefix("http://")
            fleet.start_worker()
            fleet.wait_model("echo")
            file_id = fleet.upload_bytes(b"[1,2,3,4]\n" * 5000)
            old = http.client.HTTPConnection(*address_of(fleet.http), timeout=PATIENCE_S)
            self.addCleanup(old.close)
            self.infer(old)
            crowd = []
            try:
                for _ in range(500):
                    one = socket.socket()
                    one.setblocking(False)
                    one.connect_ex(address_of(fleet.http))
                    crowd.append(one)
                until("the crowd to be noticed", lambda: descriptors(fleet.gateway) > 60)
                self.infer(old)
                self.assertLess(idle_cpu(fleet.gateway), 0.3, "the gateway spins")
                # What needs files goes on: a job begins, runs and is read.
                batch = self.over(old, "POST", "/v1/batches", {
                    "input_file_id": file_id, "endpoint": "/v2/models/echo/infer",
                    "completion_window": "24h", "output_format": "jsonl"})["id"]
                done = until("the job to end", lambda: (
                    b := self.over(old, "GET", f"/v1/batches/{batch}"))["status"] not in (
                        "validating", "in_progress", "finalizing") and b)
                self.assertEqual(done["request_counts"]["completed"], 5000, done)
            finally:
                for one in crowd:
                    one.close()
            until("a new client to be served", lambda: self.welcome(fleet))
            self.assertEqual(fleet.broker.events("session_lost"), [])

    def infer(self, connection):
        body, headers = oip.request({"x": numpy.ones((1, 4), numpy.float32)}, ("x",))
        connection.request("POST", "/v2/models/echo/infer", body, headers)
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.read()[:0]), (200, b""))

    def over(self, connection, method, path, body=None):
        connection.request(method, path, body and json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
        self.assertLess(answer.status, 300, text)
        return json.loads(text)

    def welcome(self, fleet):
        try:
            return fleet.ask("GET", "/v2/health/ready").status == 200
        except (OSError, http.client.HTTPException):
            return False


def idle_cpu(process, span_s=2.0):
    """Processor seconds, in a second, of a process that has nothing to do."""
    start, before = time.monotonic(), cpu_seconds(process)
    until("some time to pass", lambda: time.monotonic() > start + span_s, poll_s=0.1)
    return (cpu_seconds(process) - before) / (time.monotonic() - start)


class Storms(unittest.TestCase):
    """Hundreds that connect, say nothing, half a handshake, or garbage: all that they cost ends."""

    WORDS = {"nothing": b"", "half a greeting": GREETING[:11], "a greeting": GREETING,
             "garbage": bytes(range(256)) * 8, "half a request": b"POST /v2/models/x/infer HTTP/1.1\r\nH"}

    def storm(self, address):
        for words in self.WORDS.values():
            crowd = []
            for _ in range(100):
                one = socket.create_connection(address, PATIENCE_S)
                crowd.append(one)
                with contextlib.suppress(ConnectionError):
                    one.sendall(words)
            for one in crowd:
                one.close()

    def test_storms_leave_no_descriptor_and_no_memory_behind(self):
        with Fleet(()) as fleet:
            fleet.add_model_bytes("echo", echo())
            fleet.broker = fleet.start(
                "broker", [BIN / "convoy-broker", "--listen", "tcp://127.0.0.1:0"])
            bound = fleet.broker.endpoints()
            fleet.control = bound["control"]
            fleet.start_gateway()
            fleet.start_worker()
            fleet.wait_model("echo")
            places = [(fleet.broker, address_of(bound[name]))
                      for name in ("control", "data")]
            places.append((fleet.gateway, address_of(fleet.http)))
            for process, address in places:
                before = descriptors(process)
                self.storm(address)
                until("its descriptors to be closed", lambda: descriptors(process) <= before + 2)
                memory = resident(process)
                for _ in range(5):
                    self.storm(address)
                until("its descriptors to be closed", lambda: descriptors(process) <= before + 2)
                self.assertLess(resident(process) - memory, 8 * MIB * RSS_SLACK, address)
            self.assertEqual(fleet.ask("GET", "/v2/health/ready").status, 200)
            self.assertEqual(fleet.broker.events("session_lost"), [])

    def test_who_stays_and_says_nothing_is_shut_down(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            fleet.start_gateway("--http-idle-timeout-ms", "1000")
            for process, address in ((fleet.broker, address_of(fleet.control)),
                                     (fleet.gateway, address_of(fleet.http))):
                before = descriptors(process)
                with contextlib.ExitStack() as crowd:
                    quiet = [crowd.enter_context(socket.create_connection(address, PATIENCE_S))
                             for _ in range(200)]
                    quiet[0].sendall(GREETING[:11])
                    until("all to be accepted", lambda: descriptors(process) >= before + 150)
                    until("all to be shut down", lambda: descriptors(process) <= before + 2)


class SlowReaders(unittest.TestCase):
    """F12: a gateway that stands still, HTTP clients that read nothing."""

    ROWS = 3000

    WIDTH = 64 * KIB  # floats of a row's output: 256 KiB for 16 octets

    def start(self, fleet, *worker):
        x, y = value("x", "FP32", ["n", 4]), value("y", "FP32", ["n", self.WIDTH])
        tiled = onnx_model([node("Tile", ["x", "reps"], ["y"])], [x], [y],
                           [constant("reps", numpy.int64([1, self.WIDTH // 4]))])
        fleet.add_model_bytes("wide", tiled)
        fleet.add_model_bytes("echo", echo())
        fleet.start_broker()
        fleet.start_gateway()
        fleet.start_worker(*worker)
        fleet.wait_model("wide")
        fleet.wait_model("echo")

    def test_a_gateway_that_stands_still_costs_the_others_nothing(self):
        with Fleet(()) as fleet:
            self.start(fleet, "--results-bytes", str(64 * MIB))
            other = fleet.start("gateway", [
                BIN / "convoy-gateway", "--brokers", fleet.control, "--http", "127.0.0.1:0",
                "--data", fleet.folder / "other", "--models", fleet.folder / "gateway/models"])
            job = fleet.score(fleet.upload_bytes(b"[1,2,3,4]\n" * self.ROWS), "wide", "npy")
            fleet.wait_rows(job, 1)
            stopped, fleet.http = fleet.http, other.endpoints()["http"].removeprefix("http://")
            fleet.wait_model("echo")
            fleet.gateway.child.send_signal(signal.SIGSTOP)
            try:
                done = fleet.wait_batch(fleet.score(
                    fleet.upload_bytes(b"[1,2,3,4]\n" * 2000), "echo", "jsonl"))
                self.assertEqual(done["request_counts"]["completed"], 2000)
                fleet.broker.wait_event("session_lost")
            finally:
                fleet.gateway.child.send_signal(signal.SIGCONT)
            fleet.http = stopped
            self.assertEqual(fleet.wait_batch(job)["request_counts"]["completed"], self.ROWS)
            self.assertLess(peak(fleet.broker), 300 * MIB * RSS_SLACK)

    def test_clients_that_read_nothing_cost_little_and_hold_up_nobody(self):
        with Fleet(()) as fleet:
            self.start(fleet)
            large = npy_bytes("|u1", (256, MIB), bytes(256 * MIB))
            file_id = fleet.upload_bytes(large, "large.npy")
            job = fleet.score(fleet.upload_bytes(b"[1,2,3,4]\n" * 400), "wide", "npy")
            before = resident(fleet.gateway)
            with contextlib.ExitStack() as lazy:
                for index in range(20):
                    path = f"/v1/files/{file_id}/content" if index % 2 else f"/v1/batches/{job}/events"
                    one = lazy.enter_context(socket.create_connection(address_of(fleet.http)))
                    one.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                self.assertEqual(fleet.wait_batch(job)["request_counts"]["completed"], 400)
                body, headers = oip.request({"x": numpy.ones((1, 4), numpy.float32)}, ("x",))
                for _ in range(50):
                    self.assertEqual(
                        fleet.ask("POST", "/v2/models/echo/infer", body, headers).status, 200)
                self.assertLess(resident(fleet.gateway) - before, 150 * MIB * RSS_SLACK)
            self.assertEqual(fleet.content(file_id), large)


if __name__ == "__main__":
    unittest.main()
