"""Garbage on the broker's ports, from raw octets to well-formed nonsense; the fleet serves on.

After every case a gateway in Python has a task computed by the real worker, through the session
that it had before the garbage came.
"""
import random
import socket
import struct
import threading
import unittest
import uuid

import msgpack
import numpy
import zmq

from harness import BIN, PATIENCE_S, Fleet, Process, until
from onnx_bytes import echo
from wire import MESSAGES, STATUS, Gateway, Peer, counters, crc32c, encode, pack

SEED = 62
RSS_MAX_KIB = 700 << 10  # with a sanitizer's shadow; a broker of its own has some 20 MiB
ZMTP_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16 + 32)
UUID = uuid.UUID(int=7).bytes


def head(code, body, magic=b"CVY1", major=1, crc=None, sequence=1):
    return struct.pack("<4sBBHII", magic, major, code, 0, sequence,
                       crc32c(body) if crc is None else crc)


def message(name, body, bodies=()):
    """A message whose map is these octets, with the right checksum."""
    return [head(MESSAGES[name][0], body), body, *bodies]


def hello(**changes):
    fields = {"ROLE": 1, "UUID": UUID, "INCARNATION": 1, "VERSION_MIN": 0, "VERSION_MAX": 0}
    fields.update(changes)
    return encode("HELLO", {key: value for key, value in fields.items() if value is not None})


def malformed():
    """(what it is, frames): each is one multipart message."""
    rng = random.Random(SEED)
    good = pack({"ROLE": 1, "UUID": UUID, "INCARNATION": 1, "VERSION_MIN": 0, "VERSION_MAX": 0})
    code = MESSAGES["HELLO"][0]
    yield "one empty frame", [b""]
    yield "empty frames", [b"", b"", b""]
    yield "a head alone", [head(code, b"")]
    yield "a short head", [head(code, good)[:15], good]
    yield "a long head", [head(code, good) + b"\0", good]
    yield "wrong magic", [head(code, good, magic=b"CVY2"), good]
    yield "wrong major version", [head(code, good, major=2), good]
    yield "an unknown type", [head(0xEE, good), good]
    yield "wrong crc", [head(code, good, crc=1), good]
    yield "no map", message("HELLO", b"\xc0")
    yield "an empty map", message("HELLO", b"\x80")
    yield "a map cut short", message("HELLO", good[:-5])
    yield "octets after the map", message("HELLO", good + b"\0\0")
    yield "2^32-1 pairs announced", message("HELLO", b"\xdf\xff\xff\xff\xff")
    yield "2^32-1 elements announced", message("HELLO", b"\x81\x14\xdd\xff\xff\xff\xff")
    yield "2^32-1 octets announced", message("HELLO", b"\x81\x04\xc6\xff\xff\xff\xff")
    yield "lists 10,000 deep", message("HELLO", b"\x81\x14" + b"\x91" * 10000 + b"\xc0")
    yield "maps 10,000 deep", message("HELLO", b"\x81\x01" * 10000 + b"\xc0")
    yield "an ext type", message("HELLO", b"\x81\x01" + msgpack.packb(msgpack.ExtType(5, b"x")))
    yield "text keys", message("HELLO", msgpack.packb({"ROLE": 1, "UUID": UUID}))
    yield "a key twice", message("HELLO", b"\x82\x01\x01\x01\x02")
    yield "a float where a number belongs", message("HELLO", b"\x81\x01" + msgpack.packb(1.5))
    yield "a negative number", message("HELLO", b"\x81\x01\xff")
    yield "role 3", hello(ROLE=3)
    yield "a uuid of 15 octets", hello(UUID=UUID[:15])
    yield "no uuid", hello(UUID=None)
    yield "a name of 300 octets", hello(NAME="x" * 300)
    yield "a name that is no UTF-8", hello(NAME=b"\xff\xfe")
    yield "300 models", hello(ROLE=2, MODELS=[{"MODEL": bytes(32)}] * 300)
    yield "ranges that overlap", hello(ROLE=2, SLOTS=1, HELD=[
        {"GATEWAY": UUID, "RANGES": [5, 10, 6, 1]}])
    yield "ranges with an odd end", hello(ROLE=2, SLOTS=1, HELD=[{"GATEWAY": UUID, "RANGES": [5]}])
    yield "ranges beyond 64 bits", hello(ROLE=2, SLOTS=1, HELD=[
        {"GATEWAY": UUID, "RANGES": [(1 << 64) - 1, (1 << 64) - 1]}])
    yield "a body where none belongs", [*hello(), b"body"]
    yield "300 frames", [*hello()[:2], *[b"x"] * 300]
    for index in range(20):
        yield f"random frames {index}", [rng.randbytes(rng.randrange(200))
                                         for _ in range(rng.randrange(1, 6))]
        body = rng.randbytes(rng.randrange(1, 400))
        yield f"a random map {index}", message("HELLO", body)
        flipped = bytearray(good)
        flipped[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        yield f"one bit flipped {index}", message("HELLO", bytes(flipped))


def wrong_submits(gateway_uuid):
    """Maps of SUBMIT that break a rule although each part is well-formed."""
    task = {"TASK": 1, "FRAMES": 0}
    model = bytes(32)
    yield "no tasks", {"MODEL": model, "TASKS": []}, []
    yield "129 tasks", {"MODEL": model, "TASKS": [{**task, "TASK": i + 1} for i in range(129)]}, []
    yield "a model id of 31 octets", {"MODEL": model[:31], "TASKS": [task]}, []
    yield "task 0", {"MODEL": model, "TASKS": [{**task, "TASK": 0}]}, []
    yield "fewer frames than said", {"MODEL": model, "TASKS": [{**task, "FRAMES": 3}]}, [b"x"]
    yield "more frames than said", {"MODEL": model, "TASKS": [task]}, [b"x"]
    yield "257 frames said", {"MODEL": model, "TASKS": [{**task, "FRAMES": 257}]}, []
    yield "kind 256", {"MODEL": model, "KIND": 256, "TASKS": [task]}, []
    yield "band 4", {"MODEL": model, "TASKS": [{**task, "BAND": 4}]}, []
    yield "a message of workers", None, []


class BadFrames(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print("seed", SEED)
        cls.fleet = cls.enterClassContext(Fleet(()))
        # Garbage by the hundred megabytes takes Python long; its gateway is silent meanwhile.
        cls.fleet.start_broker("--heartbeat-ms", "10000", "--lease-ms", "60000")
        cls.fleet.start_worker()
        cls.context = zmq.Context()
        cls.addClassCleanup(cls.context.destroy, 0)
        cls.gateway = cls.enterClassContext(Gateway(cls.fleet.control))
        cls.version = cls.gateway.add_model(echo())
        host, port = cls.fleet.control.removeprefix("tcp://").split(":")
        cls.ports = {"control": (host, int(port)), "data": (host, cls.gateway.terms["DATA_PORT"])}

    def serves(self, what):
        """The session of before is still there, and the worker's too."""
        self.assertIsNone(self.fleet.broker.child.poll(), f"the broker ended after {what}")
        x = numpy.float32([[1, 2, 3, 4]])
        result = self.gateway.result(self.gateway.submit(self.version, [{"x": x}])[0])
        self.assertEqual(result["STATUS"], 0, what)
        numpy.testing.assert_array_equal(result["outputs"]["y"], x)
        status = open(f"/proc/{self.fleet.broker.pid}/status").read()
        peak = int(status.split("VmHWM:")[1].split()[0])
        self.assertLess(peak, RSS_MAX_KIB, f"the broker's memory after {what}")

    def dealer(self, port):
        dealer = self.context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 1000)
        dealer.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        dealer.connect("tcp://%s:%d" % self.ports[port])
        self.addCleanup(dealer.close)
        return dealer

    def test_raw_octets_by_tcp(self):
        rng = random.Random(SEED)
        cases = [("nothing", b""), ("noise", rng.randbytes(4096)), ("0xff", b"\xff" * 4096),
                 ("zeros", bytes(4096)), ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                 ("half a greeting", ZMTP_GREETING[:20]), ("a greeting alone", ZMTP_GREETING),
                 ("noise after the greeting", ZMTP_GREETING + rng.randbytes(4096)),
                 ("a huge command", ZMTP_GREETING + b"\x06" + b"\xff" * 8),
                 ("a huge frame", ZMTP_GREETING + b"\x02" + struct.pack(">Q", 1 << 62)),
                 ("another mechanism", ZMTP_GREETING.replace(b"NULL", b"EVIL"))]
        for port, address in self.ports.items():
            for what, octets in cases:
                with self.subTest(port=port, what=what), socket.create_connection(address) as raw:
                    raw.settimeout(PATIENCE_S)
                    try:
                        raw.sendall(octets)
                    except ConnectionError:
                        pass  # it hung up before it had all of it: its right
                    self.serves(what)

    def test_malformed_messages_on_each_port(self):
        for port in self.ports:
            before = counters(self.gateway)["messages_malformed"]
            for what, frames in malformed():
                with self.subTest(port=port, what=what):
                    self.dealer(port).send_multipart(frames)
            # Of the 60 random ones some are well-formed by chance, or nonsense of another kind.
            until("the broker to count them", lambda b=before: counters(
                self.gateway)["messages_malformed"] >= b + len(list(malformed())) - 40)
            self.serves(f"malformed messages on {port}")

    def test_a_malformed_message_is_answered_error_and_the_third_ends_the_session(self):
        peer = Gateway(self.fleet.control)
        peer.open()
        self.addCleanup(peer.close)
        broken = message("HEARTBEAT", b"\xdf\xff\xff\xff\xff")
        for _ in range(3):
            peer.sockets["CONTROL"].send_multipart(broken)
        _, fields, _, _ = peer.expect("ERROR")
        self.assertEqual(fields["STATUS"], STATUS["MALFORMED"])
        peer.expect("GOODBYE")
        self.serves("three malformed messages")

    def test_submits_that_break_a_rule(self):
        for what, fields, bodies in wrong_submits(UUID):
            with self.subTest(what=what):
                peer = Gateway(self.fleet.control)
                peer.open()
                self.addCleanup(peer.close)
                if fields is None:
                    peer.send("CREDIT", {"CREDIT_TASKS": 1, "CREDIT_BYTES": 1})
                else:
                    peer.send("SUBMIT", fields, bodies)
                peer.expect("ERROR")
                self.serves(what)

    def test_frames_and_messages_beyond_the_limits_end_their_connection_only(self):
        cases = {"control": [("a frame of 1 MiB", [b"x" * (1 << 20)]),
                             ("100,000 frames", [b"x"] * 100000)],
                 "data": [("a frame of 8 MiB", [b"x" * (8 << 20)]),
                          ("300 frames of 1 MiB", [*hello()[:2], *[bytes(1 << 20)] * 300]),
                          ("100,000 frames", [b"x"] * 100000)]}
        for port, messages in cases.items():
            for what, frames in messages:
                with self.subTest(port=port, what=what):
                    self.dealer(port).send_multipart(frames, copy=False)
                    self.serves(what)

    def test_a_stalled_half_message_holds_up_nobody(self):
        dealer = self.dealer("data")
        dealer.send(hello()[0], zmq.SNDMORE)
        for _ in range(50):
            dealer.send(b"x" * 1000, zmq.SNDMORE)
        self.serves("half a multipart message")

    def test_many_silent_connections_leave_the_others_alone(self):
        idle = [socket.create_connection(self.ports["control"]) for _ in range(300)]
        try:
            self.serves("300 silent connections")
        finally:
            for each in idle:
                each.close()


class FewDescriptors(unittest.TestCase):
    def test_more_connections_than_descriptors_cost_no_established_peer_and_no_spin(self):
        with Fleet(()) as fleet:
            fleet.broker = fleet.start("broker", [
                "prlimit", "--nofile=256:256", BIN / "convoy-broker", "--listen",
                "tcp://127.0.0.1:0", "--heartbeat-ms", "200"])
            fleet.control = fleet.broker.endpoints()["control"]
            fleet.start_worker()
            gateway = self.enterContext(Gateway(fleet.control))
            version = gateway.add_model(echo())
            x = numpy.ones((1, 4), numpy.float32)
            gateway.result(gateway.submit(version, [{"x": x}])[0])
            host, port = fleet.control.removeprefix("tcp://").split(":")
            crowd = []
            try:
                for _ in range(500):
                    one = socket.socket()
                    one.setblocking(False)
                    one.connect_ex((host, int(port)))
                    crowd.append(one)
                    gateway.pump()
                session = gateway.session
                before, beats = cpu_seconds(fleet.broker), 0
                start = gateway.beat_at
                while gateway.beat_at < start + 1.0:  # five heartbeats
                    gateway.pump(0.2)
                    beats += 1
                self.assertLess(cpu_seconds(fleet.broker) - before, 0.6, "the broker spins")
                result = gateway.result(gateway.submit(version, [{"x": x}])[0])
                self.assertEqual(result["STATUS"], 0)
                self.assertEqual(gateway.session, session)
                self.assertEqual(fleet.broker.events("session_lost"), [])
            finally:
                for one in crowd:
                    one.close()


def cpu_seconds(process: Process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100  # of 1/100 s, what USER_HZ is


class BadBroker(unittest.TestCase):
    """Who answers a worker is no broker: it says so, lives, and joins a real one later."""

    def test_a_worker_survives_a_peer_that_talks_nonsense(self):
        context = zmq.Context()
        self.addCleanup(context.destroy, 0)
        router = context.socket(zmq.ROUTER)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        with Fleet(()) as fleet:
            fleet.control = f"tcp://127.0.0.1:{port}"
            worker = fleet.start_worker()
            stop = threading.Event()

            def nonsense():
                cases = [frames for _, frames in malformed()]
                while not stop.is_set():
                    if router.poll(100):
                        peer = router.recv_multipart()[0]
                        for frames in cases:
                            router.send_multipart([peer, *frames])
            talker = threading.Thread(target=nonsense)
            talker.start()
            try:
                worker.wait_event("message_malformed")
            finally:
                stop.set()
                talker.join()
                router.close(0)
            self.assertIsNone(worker.child.poll())
            fleet.start_broker()
            worker.wait_event("joined")


class BadPeers(unittest.TestCase):
    def test_a_peer_without_a_session_is_told_so_and_nobody_else_is_disturbed(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            peer = Peer(fleet.control, 1)
            peer.connect("CONTROL", fleet.control)
            self.addCleanup(peer.close)
            for _ in range(1000):
                peer.send("RESULT_ACK", {"IDS": [{"GATEWAY": UUID, "RANGES": [1, 1]}]})
            _, fields, _, _ = peer.expect("ERROR")
            self.assertEqual(fields["STATUS"], STATUS["HELLO_NEEDED"])
            until("a real gateway to be welcome", lambda: Gateway(fleet.control).open())


if __name__ == "__main__":
    unittest.main()
