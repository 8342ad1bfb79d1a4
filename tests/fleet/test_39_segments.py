"""Segments of a training at a worker, seen from the broker's side of the wire.

A program, a checkpoint and a budget go in; the next checkpoint, a report and at the end a model come
out. Whatever dies in between, the same bytes come out.
"""
import json
import os
import pathlib
import signal
import tempfile
import unittest

import numpy

import harness
import stub_broker
import wire

TRAIN = 3
INVALID, CANCELLED = wire.STATUS["INVALID"], wire.STATUS["CANCELLED"]
ROWS, CLASSES = 600, 4


def npy(array):
    with tempfile.TemporaryFile() as file:
        numpy.save(file, array)
        file.seek(0)
        return file.read()


def network(*more):
    return {"layers": [
        {"type": "Input", "shape": [12, 12, 1], "dtype": "uint8"},
        {"type": "Rescaling", "scale": 1 / 255},
        {"type": "Conv2D", "filters": 8, "kernel_size": 3, "activation": "relu"},
        {"type": "MaxPooling2D"}, {"type": "Flatten"}, *more,
        {"type": "Dropout", "rate": 0.2},
        {"type": "Dense", "units": CLASSES, "activation": "softmax"}]}


def rows(seed):
    """Pictures whose class says in which quarter they are bright."""
    random = numpy.random.default_rng(seed)
    labels = random.integers(0, CLASSES, ROWS)
    pictures = random.integers(0, 120, (ROWS, 12, 12))
    for picture, label in zip(pictures, labels):
        picture[6 * (label // 2):6 * (label // 2) + 6, 6 * (label % 2):6 * (label % 2) + 6] += 120
    return pictures.astype(numpy.uint8), labels.astype(numpy.uint8)


class SegmentCase(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.broker = self.enterContext(stub_broker.StubBroker())

    def enterContext(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def start(self, *more):
        self.broker.routes.clear()
        self.broker.credit = (0, 0)
        worker = harness.Process("worker", [
            harness.BIN / "convoy-worker", "--brokers", self.broker.address,
            "--store", self.folder / "store", "--threads", "1", *more], self.folder)
        self.addCleanup(worker.close)
        self.broker.wait_ready()
        return worker

    def add_program(self, layers=None, labels=None, inputs=None, copies=1, **settings):
        """`copies` of the rows make an epoch, and with it a segment, last longer."""
        pictures, right = rows(7)
        pictures, right = numpy.tile(pictures, (copies, 1, 1)), numpy.tile(right, copies)
        files = {"network.json": json.dumps(layers or network()).encode(),
                 "train/inputs.npy": npy(pictures if inputs is None else inputs),
                 "train/labels.npy": npy(right if labels is None else labels),
                 "validation/inputs.npy": npy(rows(8)[0]), "validation/labels.npy": npy(rows(8)[1])}
        settings = {"epochs": 2, "batch": 20, "seed": 3, "threads": 1, **settings}
        program, blobs = wire.manifest(files, {"training": settings})
        self.broker.blobs.update(blobs)
        return program

    def dispatch(self, program, checkpoint=None, budget_ms=5000, **fields):
        text = json.dumps({"budget_ms": budget_ms}).encode()
        inputs = {"segment": numpy.array([text], object)}
        if checkpoint is not None:
            inputs["checkpoint"] = checkpoint
        return self.broker.dispatch(program, [inputs], kind=TRAIN, ROWS=1, **fields)[0]

    def result(self, number):
        return self.broker.wait_results([number])[0]

    def segment(self, program, checkpoint=None, **more):
        """Outputs of a segment that must succeed, the report as an object."""
        result = self.result(self.dispatch(program, checkpoint, **more))
        self.assertEqual(result["STATUS"], 0, result.get("TEXT"))
        outputs = result["outputs"]
        outputs["report"] = json.loads(outputs["report"][0])
        return outputs

    def train(self, program, **more):
        """All segments; the reports, and the last outputs."""
        reports, outputs = [], {}
        while not reports or not reports[-1]["done"]:
            outputs = self.segment(program, outputs.get("checkpoint"), **more)
            reports.append(outputs["report"])
        return reports, outputs


class Segments(SegmentCase):
    def test_a_training_goes_from_checkpoint_to_checkpoint_and_ends_in_a_model(self):
        self.start()
        reports, outputs = self.train(self.add_program(epochs=3))
        self.assertEqual([report["epoch_end"]["epoch"] for report in reports], [1, 2, 3])
        self.assertEqual([report["step"] for report in reports], [30, 60, 90])
        self.assertGreater(reports[-1]["epoch_end"]["validation_accuracy"], 0.9)
        self.assertLess(reports[-1]["epoch_end"]["loss"], reports[0]["epoch_end"]["loss"])
        version = self.broker.add_model(outputs["model"].tobytes())
        pictures, labels = rows(9)
        number = self.broker.dispatch(version, [{"input": pictures[..., None]}], ROWS=ROWS)[0]
        scores = list(self.result(number)["outputs"].values())[0]
        self.assertGreater((scores.argmax(axis=1) == labels).mean(), 0.9)

    def test_a_network_whose_model_would_fit_no_message_is_refused_before_the_first_step(self):
        self.start()
        layers = network({"type": "Dense", "name": "wide", "units": 21000})
        result = self.result(self.dispatch(self.add_program(layers), budget_ms=0))
        self.assertEqual(result["STATUS"], wire.STATUS["TOO_LARGE"])
        self.assertIn("4305084 parameters", result["TEXT"])
        self.assertIn("freeze layers, or train it with convoy-run train", result["TEXT"])
        self.assertEqual(self.broker.progress, [])
        frozen = self.segment(self.add_program(layers, frozen=["wide"]), budget_ms=0)
        self.assertEqual(frozen["report"]["step"], 1)

    def test_the_same_bytes_come_out_wherever_it_was_cut_and_whoever_computed(self):
        worker = self.start()
        program = self.add_program()
        _, whole = self.train(program)
        worker.close()
        self.start()
        reports, cut = self.train(program, budget_ms=0)
        self.assertEqual(len(reports), 60)
        self.assertEqual(cut["checkpoint"].tobytes(), whole["checkpoint"].tobytes())
        self.assertEqual(cut["model"].tobytes(), whole["model"].tobytes())

    def test_a_segment_is_computed_again_after_its_runner_was_killed_and_gives_the_same(self):
        worker = self.start()
        program = self.add_program(copies=200, batch=1)
        first = self.segment(program, budget_ms=0)
        number = self.dispatch(program, first["checkpoint"], budget_ms=60000)
        # a runner that dies before it has looked at the segment is not charged with it
        self.broker.until("the first progress", lambda: any(
            name == "PROGRESS" and fields["DONE_ROWS"] > first["report"]["step"]
            for name, fields in self.broker.messages))
        os.kill(int(worker.events("runner_started")[-1]["pid"]), signal.SIGKILL)
        self.broker.until("the crash to be told", lambda: number in self.broker.crashed)
        again = self.segment(program, first["checkpoint"], budget_ms=60000, CRASHES=1)
        self.assertEqual(again["report"]["step"], 120000)
        once_more = self.segment(program, first["checkpoint"], budget_ms=60000)
        self.assertEqual(again["checkpoint"].tobytes(), once_more["checkpoint"].tobytes())

    def test_a_revoked_segment_ends_at_its_next_step_and_the_next_one_is_computed(self):
        self.start()
        program = self.add_program(copies=200, batch=1)
        one = self.segment(program, budget_ms=0)
        number = self.dispatch(program, one["checkpoint"], budget_ms=600000)
        self.broker.until("the segment to begin", lambda: number in self.broker.started)
        self.broker.send("REVOKE", {"IDS": [wire.one_set(self.broker.gateway, [number])]})
        two = self.segment(program, one["checkpoint"], budget_ms=0)
        self.assertEqual(two["report"]["step"], 2)
        self.assertNotIn(number, self.broker.results)

    def test_progress_is_told_now_and_then(self):
        self.start()
        outputs = {}
        program = self.add_program(copies=200, batch=1)
        told = []
        while len(told) < 4:
            outputs = self.segment(program, outputs.get("checkpoint"), budget_ms=2000)
            told = [fields for name, fields in self.broker.messages if name == "PROGRESS"]
        steps = [fields["DONE_ROWS"] for fields in told]
        self.assertEqual(steps, sorted(steps))
        self.assertLess(len(told), outputs["report"]["step"])


    def test_progress_is_never_that_of_the_training_before(self):
        self.start()
        steps = {}
        for batch in (1, 2, 4):
            number = self.dispatch(self.add_program(copies=200, batch=batch), budget_ms=600000)
            steps[number] = 2 * 120000 // batch
            self.broker.until("its progress", lambda: sum(
                task == number for task, _ in self.broker.progress) >= 2)
            self.broker.send("REVOKE", {"IDS": [wire.one_set(self.broker.gateway, [number])]})
        for number, told in self.broker.progress:
            self.assertEqual(told["steps"], steps[number])


class Refused(SegmentCase):
    def refusal(self, program):
        result = self.result(self.dispatch(program))
        return result["STATUS"], result.get("TEXT", "")

    def test_mistakes_name_layer_row_and_step(self):
        self.start()
        labels = rows(7)[1].copy()
        labels[123] = 9
        infinite = rows(7)[0].astype(numpy.float32)
        infinite[450, 3, 3] = numpy.inf
        floats = network()
        floats["layers"][0]["dtype"] = "float32"
        for program, said in (
                (self.add_program(network({"type": "Dens", "units": 3})), 'layers[5]: unknown layer "Dens"'),
                (self.add_program(network({"type": "Reshape", "target_shape": [7]})), "layers[5] (Reshape"),
                (self.add_program(labels=labels), "row 123 has label 9"),
                (self.add_program(batch=1000), "600 rows are less than one batch of 1000"),
                (self.add_program(floats, inputs=infinite, shuffle=False), "step 23: the loss of step 23 is"),
                (self.add_program(epoch=3), 'unknown training setting "epoch"')):
            status, text = self.refusal(program)
            self.assertEqual(status, INVALID, text)
            self.assertIn(said, text)

    def test_a_damaged_checkpoint_is_refused(self):
        self.start()
        program = self.add_program()
        checkpoint = self.segment(program, budget_ms=0)["checkpoint"].copy()
        checkpoint[200] ^= 1
        result = self.result(self.dispatch(program, checkpoint))
        self.assertEqual(result["STATUS"], INVALID)
        self.assertIn("checksum", result["TEXT"])

    def test_a_model_is_no_program_and_a_program_no_model(self):
        self.start()
        program = self.add_program()
        model = self.broker.add_model((harness.DATA / "fashion_cnn.onnx").read_bytes())
        self.assertIn("needs a training program", self.refusal(model)[1])
        for kind in (1, 2):
            number = self.broker.dispatch(program, [{}], kind=kind)[0]
            self.assertEqual(self.result(number)["STATUS"], INVALID)


if __name__ == "__main__":
    unittest.main()
