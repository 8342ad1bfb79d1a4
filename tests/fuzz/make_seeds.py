#!/usr/bin/python3
"""Write the seeds of the fuzz targets of common, broker, gateway and training: tests/fuzz/corpus/NAME/*.

    tests/fuzz/make_seeds.py

What each octet means is in the head of tests/fuzz/ROLE/fuzz_NAME.c. Files named found-* are kept: they
are inputs that found something. make_corpus.py makes the model's.
"""
import io
import json
import pathlib
import struct
import sys

import msgpack
import numpy

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fleet"))
from wire import KEYS, MESSAGES, rows  # noqa: E402

RECORDED = HERE.parent / "data" / "wire" / "minor0.msgpack"


def wire():
    """One of each recorded message, and each message of wire.def that was not there with an empty map."""
    for peer, plane, from_peer, head, packed, *bodies in msgpack.unpackb(RECORDED.read_bytes()):
        kind = head[5]
        rest = b"\xc1" + b"".join(bodies)[:256] if bodies else b""
        if len(packed) < 4096:
            yield f"recorded-{kind:02x}", bytes([kind, 1 if bodies else 0]) + packed + rest
    for name, (code, _) in MESSAGES.items():
        yield f"empty-{name.lower()}", bytes([code, 0]) + msgpack.packb({})
    listed = {key for owner, key, *_ in rows("wire.def", "FIELD") if owner == "GOODBYE"}
    for name, value in {"number": 5, "text": "x", "octets": b"x", "list": [b"x"], "map": {}}.items():
        yield f"unlisted-{name}", bytes([MESSAGES["GOODBYE"][0], 0]) + msgpack.packb(
            {code: value for key, code in KEYS.items() if key not in listed})
    yield "head", bytes([0, 2]) + head + packed
    nodes = [{KEYS["PUBLIC"]: bytes(32), KEYS["ROLE"]: 2, KEYS["STANDING"]: 1, KEYS["NAME"]: "n"}]
    yield "nodes", bytes([MESSAGES["NODES"][0], 0]) + msgpack.packb(
        {KEYS["REGISTRY"]: 1, KEYS["PART"]: 1, KEYS["PARTS"]: 1, KEYS["NODES"]: nodes})
    ids = [{KEYS["GATEWAY"]: bytes(16), KEYS["RANGES"]: [1, 4, 9, 1]}]
    for name in ("ACCEPTED", "STARTED", "CANCEL", "REVOKE", "RESULT_ACK", "CRASHED"):
        yield f"ids-{name.lower()}", bytes([MESSAGES[name][0], 0]) + msgpack.packb({KEYS["IDS"]: ids})


def npy():
    for i, array in enumerate([numpy.arange(6, dtype="<f4").reshape(2, 3), numpy.array(3, "<i8"),
                               numpy.zeros((0, 4), "u1"), numpy.array([[True], [False]]),
                               numpy.asfortranarray(numpy.ones((2, 2), "<f8")), numpy.ones(2, ">f2")]):
        for version in (1, 2, 3):
            out = io.BytesIO()
            numpy.lib.format.write_array(out, array, (version, 0))
            yield f"{i}-version-{version}", out.getvalue()


def core():
    """Events of fuzz_core.c: what % 8, who, and what the event reads."""
    def hello(peer, worker, listed=()):
        return bytes([0, peer, worker, 1, 2, 1, 0, 1, 2, 2]) + sets(listed)

    def sets(numbers):  # of gateway 0
        if not numbers:
            return b"\0"
        return bytes([1, 1, numbers[0], 0, len(numbers), 0])

    def attach(peer):
        return bytes([1, peer])

    def task(number, flags=0):
        return bytes([number, 9, 9, 1, 0, 0, 0, 1, 0, flags])

    def submit(number, flags=0):
        return bytes([2, 0x80, 0, 1, 0]) + task(number, flags)

    def credit(peer):
        return bytes([6 + 8 * 5, peer, 20, 100])

    def beat(peer, listed=()):
        return bytes([4, peer, 1, 0, 1, 1, 1, 0]) + sets(listed)

    def about(kind, peer, listed, worker=1):
        return bytes([5 + 8 * kind, peer, worker, 0, 1]) + sets(listed)

    def result(peer, number):
        return bytes([3, 0x80 | peer, 0, 0, number, 1, 1, 5])

    tick, second = bytes([7, 0, 1]), bytes([7, 0, 100])
    start = hello(0, 0) + attach(0) + hello(1, 1) + attach(1) + credit(1) + hello(2, 1) + attach(2) + credit(2) + tick
    yield "one-task", start + submit(3) + tick + about(0, 1, [3]) + result(1, 3) + about(4, 0, [3]) + tick
    yield "no-list", start + submit(3) + tick + beat(1) + second + beat(1) + second + beat(1) + second
    yield "adopted", start + beat(1, [7]) + submit(7, 1) + tick + result(1, 7) + about(4, 0, [7])
    yield "parked", start + submit(7, 1) + tick + beat(1) + beat(2) + second + second + result(1, 7)
    yield "crash-twice", start + submit(3) + tick + about(2, 1, [3]) + tick + about(2, 2, [3]) + tick
    yield "given-back", start + submit(3) + tick + about(1, 1, [3]) + about(1, 2, [3]) + second + second
    yield "cancelled", start + submit(3) + submit(4) + tick + about(3, 0, [3, 4]) + tick
    yield "worker-gone", start + submit(3) + tick + bytes([6 + 8, 1]) + tick + hello(1, 1, [3]) + attach(1) + tick
    yield "silence", start + submit(3) + tick + second * 20 + hello(1, 1, [3]) + attach(1) + credit(1) + tick
    yield "gateway-again", start + submit(3) + tick + bytes([0, 0, 0, 9, 2, 1, 0, 1, 2, 2, 0]) + attach(0) + tick


def record():
    meta = bytes([0, 4]) + b"name" + bytes([5]) + b"value"
    yield "meta", meta + bytes([1, 0])
    for table in range(1, 8):
        yield f"table-{table}", bytes([table]) + bytes(range(1, 160)) + bytes([table, 3])
        yield f"zero-{table}", bytes([table])
        yield f"ones-{table}", bytes([table]) + b"\xff" * 600


def guard():
    head = b"POST /v1 HTTP/1.1\r\nHost: a\r\n"
    yield "get", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "length", head + b"Content-Length: 3\r\n\r\nabc"
    yield "chunked", head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    yield "both", head + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield "two-lengths", head + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
    yield "blank-before-colon", head + b"Content-Length : 3\r\n\r\nabc"
    yield "folded", head + b"X: y\r\n Content-Length: 3\r\n\r\nabc"
    yield "tab", head + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n"
    yield "plus", head + b"Content-Length: +3\r\n\r\nabc"
    yield "no-host", b"GET / HTTP/1.1\r\n\r\n"
    yield "old", b"GET / HTTP/1.0\r\n\r\n"
    yield "two", (head + b"Content-Length: 0\r\nX-Request-Id: a-1\r\n\r\n") * 2
    yield "expect", head + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\na"
    yield "authority", head + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"
    yield "bare-lf", b"\nGET / HTTP/1.1\nHost: a\n\n"


def oip():
    def form(model, body, header=None):
        return bytes([model | (4 if header is not None else 0)]) + struct.pack(">H", header or 0) + body

    x = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[[0.5,-1e3]]}]}'
    yield "json", form(0, x)
    yield "json-all", form(0, x[:-1] + b',"id":"q","parameters":{"timeout":9,"priority":1,"binary_data_output":true},'
                           b'"outputs":[{"name":"y","parameters":{"binary_data":false}}]}')
    binary = (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}')
    yield "binary", form(0, binary + bytes(8), len(binary))
    yield "raw", form(0, bytes(16), 0)
    both = (b'{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,2,2],"parameters":{"binary_data_size":4}},'
            b'{"name":"s","datatype":"INT64","shape":[1],"data":[-9223372036854775808]}]}')
    yield "mixed", form(1, both + bytes(4), len(both))
    yield "two-json", form(1, b'{"inputs":[{"name":"x","datatype":"UINT8","shape":[1,2,2],"data":[1,2,3,255]},'
                              b'{"name":"s","datatype":"INT64","shape":[1],"data":[1.0]}]}')
    yield "texts", form(2, '{"inputs":[{"name":"x","datatype":"BYTES","shape":[3],"data":["a","","\u00fc\\n\\u0041"]}]}'
                        .encode())
    text = b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":11}}]}'
    yield "texts-binary", form(2, text + struct.pack("<I", 3) + b"abc" + struct.pack("<I", 0), len(text))
    yield "fixed", form(3, b'{"inputs":[{"name":"x","datatype":"BOOL","shape":[2],"data":[true,false]},'
                           b'{"name":"s","datatype":"FP64","shape":[],"data":[1e308]}]}')
    yield "deep", form(0, b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":' + b"[" * 40 + b"1" +
                       b"]" * 40 + b"}]}")


def multipart():
    def form(body, cut, content_type=b"multipart/form-data; boundary=X--y"):
        return content_type + b"\0" + bytes([cut]) + body

    file = (b'--X--y\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--X--y\r\n'
            b'content-disposition: form-data; name="file"; filename="a \\"b\\".npy"\r\nContent-Type: x/y\r\n\r\n'
            b"one\r\n--X--\r\r\n\r\n--X-y\r\n-\r\n--X--Y two\r\n\r\n--X--y--\r\n")
    for cut in (0, 1, 0x35, 0xff):
        yield f"file-{cut:02x}", form(file, cut)
    yield "quoted", form(file, 3, b'multipart/form-data; charset=x; boundary="X--y"')
    yield "preamble", form(b"before\r\n" + file, 5)
    yield "no-end", form(file[:-8], 2)
    yield "empty-file", form(b'--X--y\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n\r\n--X--y--', 1)
    yield "no-type", form(file, 0, b"text/plain")


def spec():
    """Networks that the unit tests build, in our form and in Keras's two."""
    folder = HERE.parent / "data" / "layers"
    cases = json.loads((folder / "cases.json").read_text())
    for name in ("conv1d_open", "conv2d_groups", "depthwise", "max_pooling2d", "batch_norm_steps", "dropout_flatten",
                 "reshape_rescaling", "bidirectional_sum", "gru_before", "cross_attention", "transformer_block", "residual"):
        yield name, json.dumps(cases[name]).encode()
    for path in sorted(folder.glob("residual.*.json")):
        yield path.stem.replace(".", "-"), path.read_bytes()


def main():
    for part in (wire, npy, core, record, guard, oip, multipart, spec):
        folder = HERE / "corpus" / part.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if not old.name.startswith("found-"):
                old.unlink()
        for name, octets in part():
            (folder / name).write_bytes(octets)
        print(f"{part.__name__}: {sum(1 for _ in folder.iterdir())} inputs, "
              f"{sum(p.stat().st_size for p in folder.iterdir())} bytes")


if __name__ == "__main__":
    main()
