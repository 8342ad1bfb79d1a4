"""Peers written in Python from PROTOCOL.md alone meet the real broker and the real worker."""
import json
import unittest
import uuid

import numpy

from harness import DATA, Fleet, until
from onnx_bytes import echo, times
from wire import STATUS, Gateway, Peer, counters, one_set, unpack_tensors
from wire_worker import Worker

ONES = {"x": numpy.ones((1, 4), numpy.float32)}
QUICK = ("--heartbeat-ms", "300", "--lease-ms", "3000")


def pumping(what, condition, *peers):
    """Wait for the condition while every peer takes its messages and sends its heartbeats."""
    def turn():
        for peer in peers:
            peer.pump(0.01)
        return condition()
    return until(what, turn)


class GatewayInPython(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(()))
        cls.fleet.start_broker()
        cls.fleet.start_worker()

    def gateway(self):
        return self.enterContext(Gateway(self.fleet.control))

    def test_submit_is_answered_by_a_result_with_the_right_numbers(self):
        gateway = self.gateway()
        version = gateway.add_model((DATA / "rnn_plain.onnx").read_bytes())
        given = numpy.load(DATA / "rnn_plain/input.npy")
        result = gateway.result(gateway.submit(version, [{"features": given}])[0])
        self.assertEqual(result["STATUS"], 0, result.get("TEXT"))
        numpy.testing.assert_allclose(result["outputs"]["probabilities"],
                                      numpy.load(DATA / "rnn_plain/output.npy"),
                                      rtol=1e-4, atol=1e-5)
        self.assertTrue(result["WORKER"])
        self.assertTrue(result["MODE"])
        self.assertGreater(result["COMPUTE_NS"], 0)

    def test_many_tasks_in_one_submit_each_get_their_own_result(self):
        gateway = self.gateway()
        version = gateway.add_model(times(3))
        inputs = [{"x": numpy.full((rows, 4), rows, numpy.float32)} for rows in range(1, 101)]
        for given, result in zip(inputs, gateway.wait(gateway.submit(version, inputs))):
            numpy.testing.assert_array_equal(result["outputs"]["y"], 3 * given["x"])

    def test_inspect_returns_the_signature_as_json(self):
        gateway = self.gateway()
        version = gateway.add_model((DATA / "lstm_bidirectional.onnx").read_bytes())
        number = gateway.next_number = gateway.next_number + 1
        gateway.send("INSPECT", {"MODEL": version, "MODEL_NAME": "lstm/1",
                                 "TASKS": [{"TASK": number, "FRAMES": 0}]})
        seen = {}

        def keep(fields, bodies):
            seen.update(fields["TASKS"][0], body=b"".join(bodies))
            gateway.acknowledge_numbers([number], fields.get("WORKER"))
        gateway.on_result = keep
        until("the signature", lambda: gateway.pump(0.05) or seen)
        self.assertEqual(seen["STATUS"], 0, seen.get("TEXT"))
        signature = json.loads(seen["body"])
        self.assertEqual(signature["inputs"], [
            {"name": "features", "datatype": "FP32", "shape": [-1, -1, 6]}])
        self.assertEqual(signature["outputs"][0]["batch_axis"], 1)
        self.assertIs(signature["batchable"], True)

    def test_a_broken_model_is_answered_bad_model_with_the_reason(self):
        gateway = self.gateway()
        version = gateway.add_model((DATA / "bad/unsupported.onnx").read_bytes())
        result = gateway.result(gateway.submit(version, [{"x": numpy.ones((1, 4), "f4")}])[0])
        self.assertEqual(result["STATUS"], STATUS["BAD_MODEL"])
        self.assertIn("Frobnicate", result["TEXT"])
        self.assertIn("Unravel", result["TEXT"])

    def test_a_task_sent_twice_runs_once(self):
        gateway = self.gateway()
        version = gateway.add_model(echo())
        before = counters(gateway)
        number = gateway.submit(version, [{"x": numpy.ones((1, 4), "f4")}])[0]
        gateway.next_number = number - 1
        self.assertEqual(gateway.submit(version, [{"x": numpy.ones((1, 4), "f4")}]), [number])
        gateway.result(number)
        until("the second one to be seen",
              lambda: counters(gateway)["tasks_submitted"] == before["tasks_submitted"] + 2)
        after = counters(gateway)
        self.assertEqual(after["tasks_started"] - before["tasks_started"], 1)

    def test_an_unacknowledged_result_comes_again_in_a_new_session_and_then_no_more(self):
        first = Gateway(self.fleet.control)
        first.open()
        version = first.add_model(echo())
        others = counters(first)["now_unacknowledged"]
        first.acknowledge = False
        number = first.submit(version, [{"x": numpy.ones((1, 4), "f4")}])[0]
        first.result(number)
        first.close()
        second = Gateway(self.fleet.control, identity=first.uuid, incarnation=2)
        second.hello["AWAITED"] = [one_set(second.uuid, [number])]
        second.awaited = {number}
        self.enterContext(second)
        self.assertEqual(second.result(number)["STATUS"], 0)
        until("the worker to forget it", lambda: counters(second)["now_unacknowledged"] <= others)


class Broker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(()))
        cls.fleet.start_broker(*QUICK)

    def gateway(self):
        return self.enterContext(Gateway(self.fleet.control))

    def test_a_message_before_hello_is_answered_hello_needed(self):
        peer = Peer(self.fleet.control, 1)
        peer.connect("CONTROL", self.fleet.control)
        self.addCleanup(peer.close)
        peer.send("HEARTBEAT", {})
        _, fields, _, _ = peer.expect("ERROR")
        self.assertEqual(fields["STATUS"], STATUS["HELLO_NEEDED"])

    def test_a_version_that_is_not_spoken_is_refused(self):
        peer = Peer(self.fleet.control, 1)
        peer.hello.update(VERSION_MIN=200, VERSION_MAX=201)
        peer.connect("CONTROL", self.fleet.control)
        self.addCleanup(peer.close)
        peer.send("HELLO", peer.hello)
        _, fields, _, _ = peer.expect("ERROR")
        self.assertEqual(fields["STATUS"], STATUS["VERSION"])

    def test_reserved_messages_are_answered_unsupported(self):
        gateway = self.gateway()
        gateway.send("BLOB_PUT", {"BLOB": bytes(32), "OFFSET": 0, "BYTES": 0})
        _, fields, _, _ = gateway.expect("ERROR")
        self.assertEqual(fields["STATUS"], STATUS["UNSUPPORTED"])

    def worker(self, version, name="python", **more):
        return self.enterContext(Worker(self.fleet.control, [version], name=name, **more))

    def task_of(self, worker, *others):
        """The key of a task that the worker holds."""
        return pumping(f"a task for {worker.hello['NAME']}",
                       lambda: next(iter(worker.held), None), worker, *others)

    def result(self, gateway, number, *others):
        return pumping("the result", lambda: gateway.results.get(number), gateway, *others)

    def test_a_worker_that_never_lists_its_task_loses_it_to_another(self):
        gateway = self.gateway()
        version = gateway.add_model(echo())
        silent = self.worker(version, "silent")
        silent.listing = False
        silent.give_credit(1)
        (number,) = gateway.submit(version, [ONES])
        key = self.task_of(silent, gateway)
        self.assertEqual(key, (gateway.uuid.bytes, number))
        honest = self.worker(version, "honest")
        honest.give_credit(1)
        self.assertEqual(self.task_of(honest, gateway, silent), key)
        honest.start(key)
        honest.answer(key, {"y": numpy.full((1, 4), 5, numpy.float32)})
        result = self.result(gateway, number, honest, silent)
        self.assertEqual(result["outputs"]["y"][0, 0], 5)
        self.assertGreaterEqual(counters(gateway)["tasks_unlisted"], 1)

    def test_a_worker_that_goes_away_gives_its_task_to_another_at_once(self):
        gateway = self.gateway()
        version = gateway.add_model(echo())
        first = self.worker(version, "first")
        first.give_credit(1)
        (number,) = gateway.submit(version, [ONES])
        self.task_of(first, gateway)
        second = self.worker(version, "second")
        second.give_credit(1)
        first.close()
        key = self.task_of(second, gateway)
        second.answer(key, {"y": numpy.zeros((1, 4), numpy.float32)})
        self.assertEqual(self.result(gateway, number, second)["STATUS"], 0)

    def test_no_worker_gets_more_than_its_credit(self):
        gateway = self.gateway()
        version = gateway.add_model(echo())
        worker = self.worker(version, slots=8)
        worker.give_credit(3)
        numbers = gateway.submit(version, [ONES] * 10)
        done = set()

        def got():
            return len(set(worker.held) | done)
        for total in range(3, 11):
            pumping(f"{total} tasks", lambda t=total: got() >= t, worker, gateway)
            self.assertEqual(got(), total)
            key = next(key for key in worker.held if key not in done)
            worker.answer(key, {"y": numpy.ones((1, 4), numpy.float32)})
            done.add(key)
            # A round of heartbeats: what is beyond the credit would have come by now.
            beat = worker.beat_at
            pumping("a heartbeat", lambda b=beat: worker.beat_at > b, worker, gateway)
            self.assertEqual(got(), total)
            worker.give_credit(total + 1)
        for key in set(worker.held) - done:
            worker.answer(key, {"y": numpy.ones((1, 4), numpy.float32)})
        pumping("all results", lambda: set(numbers) <= set(gateway.results), gateway, worker)

    def test_a_cancelled_task_is_revoked_from_its_worker(self):
        gateway = self.gateway()
        version = gateway.add_model(echo())
        worker = self.worker(version)
        worker.give_credit(1)
        (number,) = gateway.submit(version, [ONES])
        key = self.task_of(worker, gateway)
        gateway.send("CANCEL", {"IDS": [one_set(gateway.uuid, [number])]})
        gateway.awaited.clear()
        pumping("REVOKE", lambda: key in worker.revoked, worker, gateway)

    def test_a_task_without_a_worker_is_answered_deadline_when_its_time_is_over(self):
        gateway = self.gateway()
        version = gateway.add_model(echo())
        (number,) = gateway.submit(version, [ONES], BUDGET_MS=50)
        self.assertEqual(gateway.result(number)["STATUS"], STATUS["DEADLINE"])

    def test_a_task_that_crashed_two_runners_is_answered_crashed(self):
        gateway = self.gateway()
        version = gateway.add_model(echo())
        worker = self.worker(version)
        (number,) = gateway.submit(version, [ONES])
        for attempt in (1, 2):
            worker.give_credit(attempt)
            key = self.task_of(worker, gateway)
            worker.start(key)
            worker.held.pop(key)
            worker.send("CRASHED", {"IDS": [one_set(key[0], [key[1]])], "TEXT": "signal 11"})
        self.assertEqual(self.result(gateway, number, worker)["STATUS"], STATUS["CRASHED"])

    def test_another_hello_of_the_same_worker_ends_the_older_session(self):
        gateway = self.gateway()
        identity = uuid.uuid4()
        before = counters(gateway)["now_workers"]
        first = self.enterContext(Worker(self.fleet.control, identity=identity))
        second = self.enterContext(Worker(self.fleet.control, identity=identity, incarnation=2))
        self.assertNotEqual(first.session, second.session)
        self.assertEqual(counters(gateway)["now_workers"], before + 1)


class WorkerInPython(unittest.TestCase):
    """The real gateway and broker with a worker that computes y = 2 x in Python."""

    def serve(self, fleet, rows, repeat):
        """Answer until the job is over, each task `repeat` times."""
        worker = self.enterContext(Worker(fleet.control, name="python"))
        worker.give_credit(1000)
        batch_id, answered = None, set()
        while True:
            worker.pump(0.02)
            for key in [key for key in worker.held if key not in answered]:
                fields, task, frames = worker.held[key]
                if fields.get("KIND", 1) == 2:
                    self.inspect(worker, key)
                else:
                    worker.start(key)
                    x = unpack_tensors(task["SPEC"], frames)["x"]
                    for _ in range(repeat):
                        worker.answer(key, {"y": 2 * x})
                answered.add(key)
            if batch_id is None and fleet.ask("GET", "/v2/models/echo/ready").status == 200:
                batch_id = fleet.score(fleet.upload(rows), "echo", chunk_rows=7)
            if batch_id and fleet.batch(batch_id)["status"] == "completed":
                return fleet.batch(batch_id)

    def inspect(self, worker, key):
        text = json.dumps({
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 4], "batch_axis": 0}],
            "batchable": True}).encode()
        worker.send("RESULT", {
            "GATEWAY": key[0], "WORKER": worker.uuid, "MODEL": worker.held[key][0]["MODEL"],
            "TASKS": [{"TASK": key[1], "STATUS": 0, "FRAMES": 1, "BYTES": len(text)}]}, [text])

    def test_every_result_sent_twice_is_committed_once(self):
        with Fleet(()) as fleet:
            fleet.add_model_bytes("echo", echo())
            fleet.start_broker()
            fleet.start_gateway()
            x = numpy.random.default_rng(5).standard_normal((100, 4), numpy.float32)
            print("seed 5")
            source = fleet.folder / "x.npy"
            numpy.save(source, x)
            batch = self.serve(fleet, source, repeat=2)
            self.assertEqual(batch["request_counts"],
                             {"total": 100, "completed": 100, "failed": 0})
            scores = fleet.folder / "y.npy"
            scores.write_bytes(fleet.content(batch["output_file_id"]))
            numpy.testing.assert_array_equal(numpy.load(scores), 2 * x)


if __name__ == "__main__":
    unittest.main()
