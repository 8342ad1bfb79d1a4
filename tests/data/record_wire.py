#!/usr/bin/env python3
"""Record what a gateway, a broker and a worker of this build say to each other: data for test_33.

    CONVOY_BIN=build/bin tests/data/record_wire.py tests/data/wire/minor0.msgpack

A recorder stands between the broker and both peers, passes every message on and keeps it as it
came. One model is inspected, fetched and run online and as a dataset job, the workers are asked for,
then the worker and the gateway are told to end. The file is one msgpack list in order of time of
[peer, plane, from the peer?, head, map, bodies...]. Run it with the build whose frames are wanted:
a later build cannot make the frames of an earlier one again.
"""
import pathlib
import signal
import sys
import threading

import msgpack
import zmq

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/fleet"))
from harness import DATA, Fleet, until  # noqa: E402
from wire import decode, patch  # noqa: E402

PLANES = ("CONTROL", "DATA")


class Recorder(threading.Thread):
    """Listens for one peer; what it says goes on to the broker, and back."""

    def __init__(self, peer, broker, events):
        super().__init__(daemon=True)
        self.peer, self.broker, self.events = peer, broker, events
        self.context = zmq.Context()
        self.fronts = [self.context.socket(zmq.ROUTER) for _ in PLANES]
        self.ports = [front.bind_to_random_port("tcp://127.0.0.1") for front in self.fronts]
        self.backs = [None, None]
        self.routes = [None, None]
        self.ended = threading.Event()

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.ports[0]}"

    def dial(self, plane, address):
        self.backs[plane] = self.context.socket(zmq.DEALER)
        self.backs[plane].connect(address)

    def keep(self, plane, from_peer, frames):
        self.events.append([self.peer, PLANES[plane], from_peer, *frames])

    def on_peer(self, plane):
        self.routes[plane], *frames = self.fronts[plane].recv_multipart()
        self.keep(plane, True, frames)
        self.backs[plane].send_multipart(frames)

    def on_broker(self, plane):
        frames = self.backs[plane].recv_multipart()
        self.keep(plane, False, frames)
        name, fields, _, _ = decode(frames)
        if name == "WELCOME" and plane == 0:
            host = self.broker.rsplit(":", 1)[0]
            self.dial(1, f"{host}:{fields['DATA_PORT']}")
            frames = patch(frames, {"DATA_PORT": self.ports[1]})
        self.fronts[plane].send_multipart([self.routes[plane], *frames])

    def run(self):
        self.dial(0, self.broker)
        while not self.ended.is_set():
            poller = zmq.Poller()
            for socket in self.fronts + [back for back in self.backs if back]:
                poller.register(socket, zmq.POLLIN)
            for socket, _ in poller.poll(100):
                if socket in self.fronts:
                    self.on_peer(self.fronts.index(socket))
                else:
                    self.on_broker(self.backs.index(socket))


def main(path):
    events = []
    with Fleet(("rnn_plain",)) as fleet:
        fleet.start_broker("--heartbeat-ms", "500")
        real = fleet.control
        recorders = []

        def behind(peer):
            recorders.append(Recorder(peer, real, events))
            recorders[-1].start()
            fleet.control = recorders[-1].address

        behind("gateway")
        fleet.start_gateway()
        behind("worker")
        worker = fleet.start_worker()
        fleet.wait_workers(1)
        fleet.wait_model("rnn_plain")
        rows = (DATA / "rnn_plain/input.npy").read_bytes()
        batch = fleet.wait_batch(fleet.score(fleet.upload_bytes(rows, "input.npy"), "rnn_plain",
                                             chunk_rows=2))
        assert batch["status"] == "completed", batch
        answer = fleet.post("/v2/models/rnn_plain/infer", {"inputs": [{
            "name": "features", "shape": [1, 2, 4], "datatype": "FP32", "data": [0.5] * 8}]})
        assert answer["outputs"], answer
        until("the worker to be idle", lambda: fleet.workers()[0]["running"] == 0)
        assert worker.kill(signal.SIGTERM) == 0
        until("the worker to be gone", lambda: not fleet.workers())
        assert fleet.gateway.kill(signal.SIGTERM) == 0
        fleet.broker.wait_event("session_closed", 2)
        for recorder in recorders:
            recorder.ended.set()
            recorder.join()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgpack.packb(events, use_bin_type=True))
    names = sorted({decode(event[3:])[0] for event in events})
    print(f"{path}: {len(events)} messages, {path.stat().st_size} bytes: {' '.join(names)}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
