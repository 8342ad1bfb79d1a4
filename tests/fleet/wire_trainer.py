"""A worker in Python that answers training tasks as a test says, made from common/PROTOCOL.md alone."""
import hashlib
import json

import numpy

from harness import DATA
from wire import STATUS, pack_tensors
from wire_worker import Worker

MODEL = (DATA / "rnn_plain.onnx").read_bytes()
SIGNATURE = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, -1, 4]}],
             "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3],
                          "batch_axis": 0}], "batchable": True}


class Trainer(Worker):
    """Four steps a segment, two segments an epoch. Its checkpoint is the history of its steps."""

    def __init__(self, control, steps=8, **more):
        super().__init__(control, name="trainer", VERSION_MAX=2, **more)
        self.steps = steps
        self.blobs = {}
        self.segments = []      # (step before, inputs) of every training task that was computed
        self.hold = False       # keep tasks, answer nothing
        self.failures = []      # statuses with which the next tasks end
        self.fetched = []       # ids of blobs, in the order in which they came

    def handle(self, name, fields, bodies):
        if name == "BLOB_CHUNK":
            assert fields["STATUS"] == STATUS["OK"], fields
            have = self.blobs.setdefault(fields["BLOB"], b"") + b"".join(bodies)
            self.blobs[fields["BLOB"]] = have
            if len(have) < fields["BYTES"]:
                self.ask(fields["BLOB"], len(have))
            else:
                assert hashlib.sha256(have).digest() == fields["BLOB"]
                self.fetched.append(fields["BLOB"])
            return True
        return super().handle(name, fields, bodies)

    def ask(self, blob, offset=0):
        self.send("BLOB_GET", {"BLOB": blob, "GATEWAY": self.gateway, "WORKER": self.uuid,
                               "OFFSET": offset, "LENGTH": 1 << 20})

    def fetch(self, gateway, blob):
        """A blob's octets, asked for when they are not here yet."""
        self.gateway = gateway
        if blob not in self.blobs:
            self.ask(blob)
        while blob not in self.fetched:
            self.pump(0.02)
        return self.blobs[blob]

    def program(self, gateway, program):
        """{path: octets} of a training program, and its settings."""
        manifest = json.loads(self.fetch(gateway, program))
        files = {entry["path"]: self.fetch(gateway, bytes.fromhex(entry["sha256"]))
                 for entry in manifest["files"]}
        return files, manifest["config"]["training"]

    def turn(self):
        """Take what came; compute what is there."""
        self.pump(0.01)
        for key in [] if self.hold else list(self.held):
            fields, task, _ = self.held[key]
            if task.get("done"):
                continue
            task["done"] = True
            if fields.get("KIND") == 2:
                self.answer_inspect(key)
            elif self.failures:
                self.start(key)
                self.answer_failure(key, *self.failures.pop(0))
            else:
                self.start(key)
                self.answer(key, self.train(self.inputs(key)))

    def train(self, inputs):
        """The pure function: (program, checkpoint) -> (checkpoint', report[, model])."""
        before = json.loads(inputs["checkpoint"].tobytes()) if "checkpoint" in inputs else []
        self.segments.append((len(before), inputs))
        after = before + [step * step for step in range(len(before), len(before) + 4)]
        step, done = len(after), len(after) >= self.steps
        report = {"step": step, "steps": self.steps, "epoch": (step + 7) // 8,
                  "epochs": self.steps // 8, "rows": 64, "seconds": 0.01, "steps_done": 4,
                  "done": done, "threads": 1, "parameters": 7, "loss": 1 / step,
                  "accuracy": 1 - 1 / step,
                  "points": [[at + 1, 1 / (at + 1), 1 - 1 / (at + 1)] for at in range(step - 4, step)]}
        if step % 8 == 0:
            report["epoch_end"] = {"epoch": step // 8, "loss": 1 / step, "accuracy": 1 - 1 / step,
                                   "validation_loss": 2 / step, "validation_accuracy": 0.5}
        outputs = {"report": numpy.array([json.dumps(report).encode()], object),
                   "checkpoint": numpy.frombuffer(json.dumps(after).encode(), numpy.uint8)}
        if done:
            outputs["model"] = numpy.frombuffer(MODEL, numpy.uint8)
        return outputs

    def answer_failure(self, key, status, text):
        fields, task, _ = self.held[key]
        spec, _ = pack_tensors({})
        self.send("RESULT", {
            "GATEWAY": key[0], "WORKER": self.uuid, "MODEL": fields["MODEL"], "MODE": self.mode,
            "TASKS": [{"TASK": key[1], "STATUS": STATUS[status], "TEXT": text, "ATTEMPT": 0,
                       "ROWS": 1, "FRAMES": 0, "SPEC": spec, "BYTES": 0}]})

    def answer_inspect(self, key):
        fields, _, _ = self.held[key]
        frame = json.dumps(SIGNATURE).encode()
        self.send("RESULT", {
            "GATEWAY": key[0], "WORKER": self.uuid, "MODEL": fields["MODEL"], "MODE": self.mode,
            "TASKS": [{"TASK": key[1], "STATUS": 0, "ATTEMPT": 0, "ROWS": 0, "FRAMES": 1,
                       "SPEC": b"\x80", "BYTES": len(frame)}]}, [frame])

    def tell(self, key, progress):
        """PROGRESS of a task that is held."""
        self.send("PROGRESS", {"GATEWAY": key[0], "TASK": key[1], "DONE_ROWS": progress["step"]},
                  [json.dumps(progress).encode()])
