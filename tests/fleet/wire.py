"""Convoy wire 1 in Python, made from common/PROTOCOL.md alone: an outside oracle for the C code.

    with Gateway("tcp://127.0.0.1:7700") as gateway:
        version = gateway.add_model(pathlib.Path("model.onnx").read_bytes())
        number = gateway.submit(version, [{"x": numpy_array}])[0]
        result = gateway.result(number)         # {"STATUS": 0, "outputs": {"y": numpy_array}, ...}

Names of messages and keys are read from wire.def, types of elements from dtype.def. `Peer` is one
side of a session; `Gateway` adds what a gateway does. Nothing here sleeps: waits end with an event
or with a timeout that fails.
"""
import hashlib
import json
import pathlib
import re
import struct
import time
import uuid

import msgpack
import numpy
import zmq

COMMON = pathlib.Path(__file__).resolve().parents[2] / "common"
PATIENCE_S = 30.0
FRAME_MAX = 1 << 20
MAGIC = b"CVY1"


def rows(path, word):
    """Arguments of every WORD(...) line of a .def file, split at commas."""
    pattern = re.compile(rf"^{word}\((.*)\)\s*$")
    for line in (COMMON / path).read_text().splitlines():
        match = pattern.match(line)
        if match:
            yield [part.strip().strip('"') for part in match.group(1).split(",")]


KEYS = {name: int(code) for name, code, *_ in rows("wire.def", "KEY")}
KEY_NAMES = {code: name for name, code in KEYS.items()}
MESSAGES = {name: (int(code, 16), plane) for name, code, plane, *_ in rows("wire.def", "MESSAGE")}
MESSAGE_NAMES = {code: name for name, (code, _) in MESSAGES.items()}
STATUS = {name: int(code) for name, code, *_ in rows("status.def", "STATUS")}
DTYPES = {int(row[1]): row[5] for row in rows("dtype.def", "DTYPE")}
DTYPE_CODES = {numpy.dtype(npy): code for code, npy in DTYPES.items() if npy}
BYTES = next(int(row[1]) for row in rows("dtype.def", "DTYPE") if row[0] == "BYTES")


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def to_codes(value):
    """Maps with key names become maps with key numbers, at any depth."""
    if isinstance(value, dict):
        return {KEYS[key]: to_codes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_codes(item) for item in value]
    return value.bytes if isinstance(value, uuid.UUID) else value


def to_names(value):
    if isinstance(value, dict):
        return {KEY_NAMES.get(key, key): to_names(item) for key, item in value.items()}
    return [to_names(item) for item in value] if isinstance(value, list) else value


def pack(value):
    return msgpack.packb(to_codes(value), use_bin_type=True)


def encode(name, fields, bodies=(), sequence=1):
    """The frames of one message."""
    body = pack(fields)
    head = struct.pack("<4sBBHII", MAGIC, 1, MESSAGES[name][0], 0, sequence, crc32c(body))
    return [head, body, *bodies]


def decode(frames):
    """(name, fields, bodies, sequence); ValueError for what is no message."""
    magic, major, code, _, sequence, crc = struct.unpack("<4sBBHII", frames[0])
    if magic != MAGIC or major != 1 or code not in MESSAGE_NAMES or crc != crc32c(frames[1]):
        raise ValueError(f"malformed head {frames[0]!r}")
    fields = msgpack.unpackb(frames[1], raw=False, strict_map_key=False)
    return MESSAGE_NAMES[code], to_names(fields), frames[2:], sequence


def patch(frames, changes, octets=None):
    """The same message with other values of some keys at its top, and other octets anywhere in its
    map, such as a uuid's. Whatever else stands in the map stays as it is packed."""
    fields = msgpack.unpackb(frames[1], raw=False, strict_map_key=False)
    fields.update({KEYS[key]: value for key, value in changes.items() if KEYS[key] in fields})
    body = msgpack.packb(fields, use_bin_type=True) if changes else frames[1]
    for old, new in (octets or {}).items():
        body = body.replace(old, new)
    return [frames[0][:12] + struct.pack("<I", crc32c(body)), body, *frames[2:]]


def cut(data):
    return [data[at:at + FRAME_MAX] for at in range(0, len(data), FRAME_MAX)]


def pack_tensors(tensors):
    """SPEC and body frames of {name: array}."""
    spec, frames = [], []
    for name, array in tensors.items():
        array = numpy.ascontiguousarray(array)
        texts = array.dtype == object  # elements are octets, each with its length before it
        data = b"".join(struct.pack("<I", len(text)) + text for text in array.flat) if texts \
            else array.tobytes()
        spec.append({"NAME": name, "DTYPE": BYTES if texts else DTYPE_CODES[array.dtype],
                     "DIMS": list(array.shape), "BYTES": len(data)})
        frames += cut(data)
    return pack({"TENSORS": spec}), frames


def texts_of(data):
    """The elements of a BYTES tensor."""
    found = []
    while data:
        size, = struct.unpack_from("<I", data)
        found.append(data[4:4 + size])
        data = data[4 + size:]
    return numpy.array(found, object)


def unpack_tensors(spec, frames):
    """{name: array} from SPEC and this task's frames."""
    tensors, frames = {}, list(frames)
    for tensor in to_names(msgpack.unpackb(spec, raw=False, strict_map_key=False))["TENSORS"]:
        data = b""
        while len(data) < tensor["BYTES"]:
            data += frames.pop(0)
        tensors[tensor["NAME"]] = (texts_of(data) if tensor["DTYPE"] == BYTES else numpy.frombuffer(
            data, numpy.dtype(DTYPES[tensor["DTYPE"]]))).reshape(tensor["DIMS"])
    assert not frames, "frames are left over"
    return tensors


def ids(fields, key="IDS"):
    """Every (gateway, number) of a list of SETs."""
    for entry in fields.get(key, []):
        ranges = entry["RANGES"]
        for first, count in zip(ranges[::2], ranges[1::2]):
            yield from ((entry["GATEWAY"], first + i) for i in range(count))


def one_set(gateway, numbers):
    """SET of these numbers, as few ranges as there are runs."""
    ranges = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-2] + ranges[-1] == number:
            ranges[-1] += 1
        else:
            ranges += [number, 1]
    return {"GATEWAY": gateway, "RANGES": ranges}


def manifest(files, config=None):
    """A version's manifest and blobs: (id, {sha256: bytes}); `files` is {path: bytes}."""
    blobs = {hashlib.sha256(data).digest(): data for data in files.values()}
    text = json.dumps({"config": config or {}, "files": [
        {"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in files.items()]}).encode()
    version = hashlib.sha256(text).digest()
    blobs[version] = text
    return version, blobs


class Timeout(AssertionError):
    pass


class Peer:
    """A gateway's or a worker's session with a broker."""

    def __init__(self, control, role, context=None, identity=None, incarnation=1, keys=None,
                 **hello):
        """`keys`: (the broker's public key, our public key, our secret key), for CURVE."""
        self.context = context or zmq.Context.instance()
        self.control_address = control
        self.uuid = identity or uuid.uuid4()
        self.hello = {"ROLE": role, "UUID": self.uuid, "INCARNATION": incarnation,
                      "VERSION_MIN": 0, "VERSION_MAX": 0, **hello}
        self.keys = keys
        self.sockets, self.sequences = {}, {}
        self.inbox = []
        self.beat_at = 0.0
        self.session = None

    def open(self, timeout=PATIENCE_S):
        """Say HELLO on both connections; returns the terms."""
        self.connect("CONTROL", self.control_address)
        self.send("HELLO", self.hello)
        self.terms = self.expect("WELCOME", timeout=timeout)[1]
        host = self.control_address.rsplit(":", 1)[0]
        self.connect("DATA", f"{host}:{self.terms['DATA_PORT']}")
        fields = {key: self.hello[key] for key in
                  ("ROLE", "UUID", "INCARNATION", "VERSION_MIN", "VERSION_MAX")}
        self.send("HELLO", {**fields, "SESSION": self.terms["SESSION"]}, plane="DATA")
        self.expect("WELCOME", timeout=timeout)
        self.session = self.terms["SESSION"]
        return self.terms

    def connect(self, plane, address):
        socket = self.context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        if self.keys:
            socket.curve_serverkey, socket.curve_publickey, socket.curve_secretkey = self.keys
        socket.connect(address)
        self.sockets[plane], self.sequences[plane] = socket, 0

    def close(self):
        for socket in self.sockets.values():
            socket.close(linger=200)  # ms: what was sent last still goes out
        self.sockets = {}

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, name, fields, bodies=(), plane=None):
        plane = plane or MESSAGES[name][1]
        self.sequences[plane] += 1
        self.sockets[plane].send_multipart(
            encode(name, fields, bodies, self.sequences[plane]), zmq.NOBLOCK)

    def heartbeat(self):
        """Fields of our HEARTBEAT; a role adds to it."""
        return {}

    def poll(self, timeout):
        """Wait for messages, beat when it is time, and put what came into the inbox."""
        if self.session and time.monotonic() >= self.beat_at:
            self.send("HEARTBEAT", self.heartbeat())
            self.beat_at = time.monotonic() + self.terms["HEARTBEAT_MS"] / 1000
            timeout = min(timeout, self.terms["HEARTBEAT_MS"] / 1000)
        poller = zmq.Poller()
        for socket in self.sockets.values():
            poller.register(socket, zmq.POLLIN)
        for socket, _ in poller.poll(max(0, timeout) * 1000):
            for _ in range(256):
                try:
                    self.inbox.append(decode(socket.recv_multipart(zmq.NOBLOCK)))
                except zmq.Again:
                    break

    def handle(self, name, fields, bodies):
        """A role takes a message that nobody waits for; True when it was dealt with."""
        return name == "HEARTBEAT"

    def pump(self, timeout=0.0):
        self.poll(timeout)
        self.inbox = [m for m in self.inbox if not self.handle(m[0], m[1], m[2])]

    def expect(self, name, condition=lambda fields: True, timeout=PATIENCE_S):
        """The next message of this name that fulfils the condition; others stay in the inbox."""
        end = time.monotonic() + timeout
        while True:
            for index, message in enumerate(self.inbox):
                if message[0] == name and condition(message[1]):
                    return self.inbox.pop(index)
            left = end - time.monotonic()
            if left <= 0:
                raise Timeout(f"no {name} after {timeout} s; came: {[m[0] for m in self.inbox]}")
            self.pump(min(left, 0.25))


class Gateway(Peer):
    """Submits tasks, serves blobs, acknowledges results."""

    def __init__(self, control, **more):
        super().__init__(control, role=1, **more)
        self.blobs = {}
        self.awaited = set()
        self.results = {}
        self.started, self.crashed, self.rejected = {}, {}, {}
        self.next_number = int(time.time() * 1000) << 16
        self.acknowledge = True
        self.duplicates = 0

    def heartbeat(self):
        return {"AWAITED": [one_set(self.uuid, self.awaited)] if self.awaited else []}

    def add_model(self, model, config=None):
        version, blobs = manifest({"model.onnx": model}, config)
        self.blobs.update(blobs)
        return version

    def submit(self, version, inputs, kind=1, name="test/1", rows=None, **fields):
        """SUBMIT tasks of one model in one message; returns their numbers."""
        tasks, bodies, numbers = [], [], []
        for tensors in inputs:
            spec, frames = pack_tensors(tensors)
            self.next_number += 1
            numbers.append(self.next_number)
            first = next(iter(tensors.values()), numpy.zeros(0))
            tasks.append({"TASK": self.next_number, "FRAMES": len(frames), "SPEC": spec,
                          "ROWS": rows if rows is not None else (first.shape or [0])[0],
                          "BYTES": sum(map(len, frames)), **fields})
            bodies += frames
        message = "INSPECT" if kind == 2 else "SUBMIT"
        self.send(message, {"MODEL": version, "MODEL_NAME": name, "TASKS": tasks,
                            **({"KIND": kind} if kind != 2 else {})}, bodies)
        self.awaited.update(numbers)
        return numbers

    def inspect(self, version, **more):
        return self.submit(version, [{}], kind=2, **more)[0]

    def on_result(self, fields, bodies):
        at = 0
        for task in fields["TASKS"]:
            frames = bodies[at:at + task["FRAMES"]]
            at += task["FRAMES"]
            number = task["TASK"]
            if task["STATUS"] == 0:
                task["outputs"] = unpack_tensors(task["SPEC"], frames)
                digest = hashlib.blake2b(b"".join(frames), digest_size=32).digest()
                assert task.get("DIGEST", digest) == digest, "the digest does not fit the outputs"
            self.duplicates += number in self.results
            self.results.setdefault(number, {**task, "WORKER": fields.get("WORKER"),
                                             "MODE": fields.get("MODE")})
            self.awaited.discard(number)
        if self.acknowledge:
            self.acknowledge_numbers([task["TASK"] for task in fields["TASKS"]],
                                     fields.get("WORKER"))

    def acknowledge_numbers(self, numbers, worker):
        self.send("RESULT_ACK", {"IDS": [one_set(self.uuid, numbers)],
                                 **({"WORKER": worker} if worker else {})})

    def on_blob_get(self, fields, _):
        blob = self.blobs.get(fields["BLOB"])
        answer = {"BLOB": fields["BLOB"], "WORKER": fields["WORKER"], "OFFSET": fields["OFFSET"],
                  "BYTES": len(blob or b""), "STATUS": STATUS["OK" if blob else "NOT_FOUND"]}
        if blob:
            data = blob[fields["OFFSET"]:fields["OFFSET"] + fields["LENGTH"]]
            self.send("BLOB_CHUNK", answer, [data])
        else:
            self.send("BLOB_CHUNK", {**answer, "TEXT": "no such blob"})

    def note(self, into, value):
        def keep(fields, _):
            for _gateway, number in ids(fields):
                into.setdefault(number, []).append(value(fields))
        return keep

    def handle(self, name, fields, bodies):
        handlers = {
            "RESULT": self.on_result,
            "BLOB_GET": self.on_blob_get,
            "STARTED": self.note(self.started, lambda fields: True),
            "CRASHED": self.note(self.crashed, lambda fields: fields.get("TEXT")),
            "REJECTED": self.note(self.rejected, lambda fields: fields.get("TEXT")),
            "ACCEPTED": lambda *_: None,
            "CREDIT": lambda *_: None,
            "HEARTBEAT": lambda *_: None,
        }
        if name not in handlers:
            return False
        handlers[name](fields, bodies)
        return True

    def wait(self, numbers, timeout=PATIENCE_S):
        """Until every one of the tasks has its result."""
        end = time.monotonic() + timeout
        while any(number not in self.results for number in numbers):
            if time.monotonic() > end:
                missing = sum(number not in self.results for number in numbers)
                raise Timeout(f"{missing} of {len(numbers)} results missing after {timeout} s")
            self.pump(0.25)
        return [self.results[number] for number in numbers]

    def result(self, number, timeout=PATIENCE_S):
        return self.wait([number], timeout)[0]


def counters(gateway):
    """The broker's counters by name, asked over the wire."""
    gateway.send("QUERY", {"WHAT": 2, "REQUEST": 7})
    _, fields, _, _ = gateway.expect("STATE", lambda f: f["REQUEST"] == 7)
    return {entry["NAME"]: entry["VALUE"] for entry in fields["COUNTERS"]}
