"""Rolling upgrade: what programs of wire 1.0 said, recorded, is understood by the programs of today.

`tests/data/wire/minor0.msgpack` is a whole life of a gateway, a broker and a worker of wire 1.0 as
`tests/data/record_wire.py` kept it: HELLO to GOODBYE, a model inspected and fetched, a dataset job
and an online request. Here one of the three is today's program and the others are the recording,
with only those octets changed that differ from run to run: session tokens, ports, uuids.
"""
import time
import unittest
import uuid

import msgpack
import numpy
import zmq

from harness import DATA, PATIENCE_S, Fleet
from stub_broker import StubBroker
from wire import STATUS, Peer, decode, encode, ids, patch, unpack_tensors

RECORDED = msgpack.unpackb((DATA / "wire/minor0.msgpack").read_bytes(), raw=False)
# Said when time or a test's question asks for it, not in answer to what came before.
CHATTER = {"HEARTBEAT", "CREDIT", "QUERY", "STATE", "DRAIN", "GOODBYE"}
PLANES = ("CONTROL", "DATA")
UNHURRIED_MS = 20000  # no HEARTBEAT falls due while a recording is played


def events():
    """(peer, plane, from the peer?, frames, name, fields) of each recorded message."""
    for peer, plane, from_peer, *frames in RECORDED:
        name, fields, _, _ = decode(frames)
        yield peer, plane, from_peer, frames, name, fields


def recorded(peer, name):
    """Fields and bodies of the recorded messages of one name on one peer's connections."""
    return [(fields, frames[2:]) for who, _, _, frames, kind, fields in events()
            if who == peer and kind == name]


def topics(name, fields):
    """What a message is about: tasks may be bundled otherwise than they were."""
    numbers = [task["TASK"] for task in fields.get("TASKS", [])]
    numbers += [number for _, number in ids(fields)]
    return [(name, number) for number in numbers] or [(name, None)]


class Player:
    """Plays the recorded side of some connections: sends what was said, once what came before it
    on the other side has come again."""

    def __init__(self, test):
        self.context = zmq.Context()
        self.poller = zmq.Poller()
        self.sockets, self.routes = {}, {}
        self.seen, self.came = [], []   # topics; (peer, name, fields, bodies)
        self.octets = {}                # of the recording: what stands for them today
        test.addCleanup(self.close)

    def close(self):
        for socket in self.sockets.values():
            socket.close(linger=0)
        self.context.term()

    def add(self, key, socket):
        self.sockets[key] = socket
        self.poller.register(socket, zmq.POLLIN)

    def receive(self, timeout_s):
        for socket, _ in self.poller.poll(timeout_s * 1000):
            key = next(key for key, known in self.sockets.items() if known is socket)
            frames = socket.recv_multipart()
            if socket.type == zmq.ROUTER:
                self.routes[key], *frames = frames
            name, fields, bodies, _ = decode(frames)
            self.on_message(key, name, fields)
            self.came.append((key[0], name, fields, bodies))
            self.seen += [(key[0], *topic) for topic in topics(name, fields)]

    def on_message(self, key, name, fields):
        """For a player that learns octets from what comes."""

    def send(self, key, frames, changes=None):
        route = [self.routes[key]] if self.sockets[key].type == zmq.ROUTER else []
        self.sockets[key].send_multipart(route + patch(frames, changes or {}, self.octets))

    def wait(self, peer, wanted):
        """Until each of the topics has come as often as it stands in `wanted` so far."""
        end = time.monotonic() + PATIENCE_S
        while any(self.seen.count((peer, *topic)) < count for topic, count in wanted.items()):
            if time.monotonic() > end:
                raise AssertionError(f"{peer} waits for {wanted}; came: {self.seen}")
            self.receive(0.25)

    def errors(self):
        return [(fields["STATUS"], fields.get("TEXT")) for _, name, fields, _ in self.came
                if name == "ERROR" or (name == "GOODBYE" and fields.get("STATUS"))]

    def play(self, ours, changes=lambda name, peer: {}, until_task=None):
        """`ours` tells whether the recording's side said it. Ends before the SUBMIT of a task."""
        wanted = {}
        for peer, plane, from_peer, frames, name, fields in events():
            if name == "SUBMIT" and (name, until_task) in topics(name, fields):
                return
            if not ours(peer, from_peer):
                if name not in CHATTER and peer in {key[0] for key in self.sockets}:
                    counts = wanted.setdefault(peer, {})
                    for topic in topics(name, fields):
                        counts[topic] = counts.get(topic, 0) + 1
                    self.wait(peer, counts)
            elif name not in ("STATE", "HEARTBEAT") or from_peer:
                self.send((peer, plane), frames, changes(name, peer))


class BrokerPlayer(Player):
    """The recorded broker, for one program of today."""

    def __init__(self, test, peer):
        super().__init__(test)
        self.peer = peer
        self.ports = []
        for plane in PLANES:
            socket = self.context.socket(zmq.ROUTER)
            self.ports.append(socket.bind_to_random_port("tcp://127.0.0.1"))
            self.add((peer, plane), socket)
        self.address = f"tcp://127.0.0.1:{self.ports[0]}"

    def on_message(self, key, name, fields):
        if name == "HELLO":
            self.octets[recorded(self.peer, "HELLO")[0][0]["UUID"]] = fields["UUID"]

    def play_all(self, until_task=None):
        self.play(lambda peer, from_peer: peer == self.peer and not from_peer, lambda name, _: {
            "DATA_PORT": self.ports[1], "HEARTBEAT_MS": UNHURRIED_MS} if name == "WELCOME" else {},
            until_task)


class Minor0(unittest.TestCase):
    def test_todays_broker_serves_a_gateway_and_a_worker_of_wire_1_0(self):
        fleet = self.enterContext(Fleet(()))
        fleet.start_broker("--heartbeat-ms", str(UNHURRIED_MS))
        player = Player(self)
        sessions = {}

        def on_message(key, name, fields):
            if name == "WELCOME":
                sessions[key[0]] = fields["SESSION"]
                if key[1] == "CONTROL":
                    connect(key[0], "DATA", fields["DATA_PORT"])

        def connect(peer, plane, port):
            socket = player.context.socket(zmq.DEALER)
            socket.connect(f"tcp://127.0.0.1:{port}")
            player.add((peer, plane), socket)
        player.on_message = on_message
        for peer in ("gateway", "worker"):
            connect(peer, "CONTROL", fleet.control.rsplit(":", 1)[1])
        player.play(lambda _, from_peer: from_peer, lambda name, peer: {
            "SESSION": sessions.get(peer, 0)} if name == "HELLO" else {})
        self.assertEqual(player.errors(), [])
        # Every result of the recorded worker reached the recorded gateway with its octets.
        def results(came):
            return sorted(((task["TASK"], task["STATUS"]), b"".join(bodies))
                          for fields, bodies in came for task in fields["TASKS"][:1])
        self.assertEqual(
            results([(fields, bodies) for peer, name, fields, bodies in player.came
                     if name == "RESULT" and peer == "gateway"]),
            results(recorded("gateway", "RESULT")))
        fleet.broker.wait_event("session_closed", 2)
        self.assertEqual(fleet.broker.events("message_malformed"), [])

    def test_todays_gateway_works_with_a_broker_of_wire_1_0(self):
        fleet = self.enterContext(Fleet(("rnn_plain",)))
        player = BrokerPlayer(self, "gateway")
        fleet.control = player.address
        fleet.start_gateway()
        rows = (DATA / "rnn_plain/input.npy").read_bytes()
        job = {}

        def receive(timeout_s, receive=player.receive):
            # The recorded order: first the model, then the job.
            if not job and fleet.ask("GET", "/v2/models/rnn_plain/ready").status == 200:
                job["id"] = fleet.score(fleet.upload_bytes(rows, "input.npy"), "rnn_plain",
                                        chunk_rows=2)
            receive(min(timeout_s, 0.05))
        player.receive = receive
        # The last SUBMIT of the recording is the online request.
        player.play_all(recorded("gateway", "SUBMIT")[-1][0]["TASKS"][0]["TASK"])
        batch = fleet.wait_batch(job["id"])
        self.assertEqual(batch["status"], "completed", batch)
        self.assertEqual(batch["request_counts"]["failed"], 0)
        path = fleet.folder / "scores.npy"
        path.write_bytes(fleet.content(batch["output_file_id"]))
        numpy.testing.assert_allclose(numpy.load(path), numpy.load(DATA / "rnn_plain/output.npy"),
                                      rtol=1e-4, atol=1e-5)
        self.assertEqual(player.errors(), [])

    def test_todays_worker_works_for_a_broker_of_wire_1_0(self):
        fleet = self.enterContext(Fleet(()))
        player = BrokerPlayer(self, "worker")
        fleet.control = player.address
        fleet.start_worker()
        player.play_all()
        ours = {task["TASK"]: (task, bodies) for _, name, fields, bodies in player.came
                if name == "RESULT" for task in fields["TASKS"]}
        theirs = {task["TASK"]: task for fields, _ in recorded("worker", "RESULT")
                  for task in fields["TASKS"]}
        self.assertEqual(set(ours), set(theirs))
        self.assertEqual({task["STATUS"] for task, _ in ours.values()}, {STATUS["OK"]})
        self.assertEqual(player.errors(), [])


class Kinds(unittest.TestCase):
    def test_todays_gateway_gives_training_to_no_broker_of_wire_1_1_and_says_so(self):
        fleet = self.enterContext(Fleet(()))
        broker = self.enterContext(StubBroker())
        broker.terms = {"VERSION_MAX": 1, "CREDIT_TASKS": 10, "CREDIT_BYTES": 1 << 20}
        fleet.control = broker.address
        fleet.start_gateway()
        job = fleet.post("/v1/training/jobs", {
            "name": "toy", "training": {"epochs": 1},
            "network": {"layers": [{"type": "Dense", "units": 3, "input_shape": [4]}]},
            "data": {"train": {part: fleet.upload_bytes(part.encode(), "x.csv")
                               for part in ("inputs", "labels")}}})["id"]

        def waiting():
            return fleet.ask("GET", f"/v1/training/jobs/{job}").json()["convoy"]["waiting_for"]

        def submitted():
            return [fields["KIND"] for name, fields in broker.messages if name == "SUBMIT"]
        why = broker.until("the job to say what it waits for", waiting)
        self.assertIn("expected one of wire 1.2 or later, the newest here speaks 1.1", why)
        self.assertIn("upgrade the brokers", why)
        self.assertEqual(submitted(), [])
        broker.terms["VERSION_MAX"] = 2     # the broker is upgraded
        broker.send("GOODBYE", {})
        self.assertEqual(broker.until("the segment", submitted), [3])


class Versions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(()))
        cls.fleet.start_broker()

    def test_another_major_version_is_refused_with_what_to_do(self):
        peer = Peer(self.fleet.control, 1)
        peer.connect("CONTROL", self.fleet.control)
        self.addCleanup(peer.close)
        head, body = encode("HELLO", peer.hello)
        peer.sockets["CONTROL"].send_multipart([head[:4] + b"\x02" + head[5:], body])
        _, fields, _, _ = peer.expect("ERROR")
        self.assertEqual(fields["STATUS"], STATUS["VERSION"])
        self.assertIn("wire 1", fields["TEXT"])
        self.assertIn("wire 2", fields["TEXT"])

    def test_a_peer_of_minor_0_is_welcomed_and_told_the_brokers_minor(self):
        peer = Peer(self.fleet.control, 2, identity=uuid.uuid4())
        self.addCleanup(peer.close)
        peer.open()
        self.assertGreaterEqual(peer.terms["VERSION_MAX"], 0)


if __name__ == "__main__":
    unittest.main()
