"""A broker for one worker, played by a test: it says what no real broker would, and sees everything.
For one gateway as well, as far as it goes: it takes what comes.

It is also the gateway of all tasks: serves blobs, collects results, acknowledges when told to.
"""
import json
import time
import uuid

import wire
import zmq


class StubBroker:
    def __init__(self, heartbeat_ms=2000):
        self.context = zmq.Context()
        self.control, self.data = (self.context.socket(zmq.ROUTER) for _ in range(2))
        for socket in (self.control, self.data):
            socket.setsockopt(zmq.LINGER, 0)
        port = self.control.bind_to_random_port("tcp://127.0.0.1")
        self.data_port = self.data.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{port}"
        self.heartbeat_ms = heartbeat_ms
        self.idle_ms = None         # tells no such period, as a broker of wire 1.0
        self.terms = {}             # more of WELCOME
        self.gateway, self.uuid = uuid.uuid4().bytes, uuid.uuid4()
        self.routes, self.sequences = {}, {}
        self.sessions = 0
        self.blobs, self.number = {}, 0
        self.silent = False         # sends no heartbeats: the worker must notice
        self.acknowledge = True
        self.early = None           # (name, fields) said on control before data's WELCOME
        self.beat_at = 0.0
        self.forget()

    def forget(self):
        self.messages = []          # (name, fields) of all that came
        self.results = {}           # number -> list of every copy that came
        self.started, self.nacked, self.crashed = [], {}, {}
        self.progress = []          # (number, what it said)
        self.credit = (0, 0)
        self.held = None            # of the last HEARTBEAT or HELLO

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for socket in (self.control, self.data):
            socket.close()
        self.context.term()

    def send(self, name, fields, bodies=()):
        plane = wire.MESSAGES[name][1]
        socket = self.control if plane == "CONTROL" else self.data
        self.sequences[plane] += 1
        socket.send_multipart([self.routes[plane],
                               *wire.encode(name, fields, bodies, self.sequences[plane])])

    def welcome(self, plane, route):
        socket = self.control if plane == "CONTROL" else self.data
        self.routes[plane], self.sequences[plane] = route, 1
        socket.send_multipart([route, *wire.encode("WELCOME", {
            "SESSION": 7, "BROKER": self.uuid, "VERSION_MAX": 0, "DATA_PORT": self.data_port,
            "HEARTBEAT_MS": self.heartbeat_ms, "LEASE_MS": 10000,
            "MESSAGE_MAX": 64 << 20, **({"IDLE_MS": self.idle_ms} if self.idle_ms else {}),
            **self.terms},
            (), 1)])

    def pump(self, timeout=0.05):
        if "DATA" in self.routes and not self.silent and time.monotonic() >= self.beat_at:
            self.send("HEARTBEAT", {})
            self.beat_at = time.monotonic() + self.heartbeat_ms / 2000
        poller = zmq.Poller()
        poller.register(self.control, zmq.POLLIN)
        poller.register(self.data, zmq.POLLIN)
        for socket, _ in poller.poll(timeout * 1000):
            for _ in range(256):
                try:
                    route, *frames = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                plane = "CONTROL" if socket is self.control else "DATA"
                name, fields, bodies, _ = wire.decode(frames)
                self.take(plane, route, name, fields, bodies)

    def take(self, plane, route, name, fields, bodies):
        self.messages.append((name, fields))
        if "HELD" in fields:
            self.held = [number for _, number in wire.ids(fields, "HELD")]
        if name == "HELLO":
            self.sessions += plane == "DATA"
            if plane == "DATA" and self.early:
                self.send(*self.early)
            self.welcome(plane, route)
        elif name == "CREDIT":
            self.credit = (fields["CREDIT_TASKS"], fields["CREDIT_BYTES"])
        elif name == "STARTED":
            self.started += [number for _, number in wire.ids(fields)]
        elif name in ("NACK", "CRASHED"):
            into = self.nacked if name == "NACK" else self.crashed
            into.update({number: fields.get("TEXT") for _, number in wire.ids(fields)})
        elif name == "BLOB_GET":
            self.on_blob_get(fields)
        elif name == "PROGRESS":
            self.progress.append((fields["TASK"], json.loads(bodies[0])))
        elif name == "RESULT":
            self.on_result(fields, bodies)

    def on_blob_get(self, fields):
        blob = self.blobs.get(fields["BLOB"])
        data = (blob or b"")[fields["OFFSET"]:fields["OFFSET"] + fields["LENGTH"]]
        self.send("BLOB_CHUNK", {
            "BLOB": fields["BLOB"], "WORKER": fields["WORKER"], "OFFSET": fields["OFFSET"],
            "BYTES": len(blob or b""),
            "STATUS": wire.STATUS["OK" if blob else "NOT_FOUND"]}, [data] if blob else [])

    def on_result(self, fields, bodies):
        at = 0
        for task in fields["TASKS"]:
            frames = bodies[at:at + task["FRAMES"]]
            at += task["FRAMES"]
            if task["STATUS"] == 0:
                task["outputs"] = wire.unpack_tensors(task["SPEC"], frames)
            self.results.setdefault(task["TASK"], []).append(task)
        if self.acknowledge:
            self.acknowledge_results(task["TASK"] for task in fields["TASKS"])

    def acknowledge_results(self, numbers):
        self.send("RESULT_ACK", {"IDS": [wire.one_set(self.gateway, numbers)]})

    def add_model(self, model, config=None):
        version, blobs = wire.manifest({"model.onnx": model}, config)
        self.blobs.update(blobs)
        return version

    def dispatch(self, version, inputs, numbers=None, kind=1, **fields):
        """DISPATCH in one message; numbers are given anew unless said."""
        tasks, bodies = [], []
        if numbers is None:
            numbers = range(self.number + 1, self.number + 1 + len(inputs))
            self.number += len(inputs)
        for number, tensors in zip(numbers, inputs):
            spec, frames = wire.pack_tensors(tensors)
            tasks.append({"TASK": number, "GATEWAY": self.gateway, "FRAMES": len(frames),
                          "SPEC": spec, "BYTES": sum(map(len, frames)), **fields})
            bodies += frames
        self.send("DISPATCH", {"MODEL": version, "MODEL_NAME": "test/1", "KIND": kind,
                               "TASKS": tasks}, bodies)
        return list(numbers)

    def until(self, what, condition, patience=60.0):
        end = time.monotonic() + patience
        while not (got := condition()):
            if time.monotonic() > end:
                last = [name for name, _ in self.messages[-20:]]
                raise AssertionError(f"still waiting after {patience} s: {what}; came: {last}")
            self.pump()
        return got

    def wait_ready(self):
        self.until("the worker to join and give credit",
                   lambda: "DATA" in self.routes and self.credit[0] > 0)

    def wait_results(self, numbers):
        self.until(f"results of {len(numbers)} tasks",
                   lambda: all(number in self.results for number in numbers))
        return [self.results[number][0] for number in numbers]
