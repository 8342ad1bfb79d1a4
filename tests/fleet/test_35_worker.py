"""The worker alone, seen from the broker's side of the wire.

The broker here is a stub in Python, so that a test can lose, repeat and withhold messages as no
real one would.
"""
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import numpy

import harness
import stub_broker
import wire
from onnx_bytes import loop, slow

MODEL = (harness.DATA / "fashion_cnn.onnx").read_bytes()
INVALID, BAD_MODEL = wire.STATUS["INVALID"], wire.STATUS["BAD_MODEL"]
DEADLINE = wire.STATUS["DEADLINE"]


def pictures(rows, seed=1):
    return numpy.random.default_rng(seed).integers(0, 255, (rows, 28, 28), dtype=numpy.uint8)


def heavy_rows(rows):
    return numpy.random.default_rng(2).standard_normal((rows, 512), numpy.float32)


class WorkerCase(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.broker = self.enterContext(stub_broker.StubBroker())

    def enterContext(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def start(self, *more, address=None):
        worker = harness.Process("worker", [
            harness.BIN / "convoy-worker", "--brokers", address or self.broker.address,
            "--store", self.folder / "store", "--threads", "1", *more], self.folder)
        self.addCleanup(worker.close)
        return worker

    def joined(self, *more):
        worker = self.start(*more)
        self.broker.wait_ready()
        return worker

    def with_model(self, *more, config=None):
        """A worker that has the model loaded; (worker, version, the input's name)."""
        worker = self.joined(*more)
        version = self.broker.add_model(MODEL, config)
        signature = self.signature(version)
        return worker, version, signature["inputs"][0]["name"]

    def signature(self, version):
        number = self.broker.dispatch(version, [{}], kind=2)[0]
        result = self.broker.wait_results([number])[0]
        self.assertEqual(result["STATUS"], 0, result.get("TEXT"))
        return json.loads(result["outputs"]["signature"].tobytes())

    def runner_pid(self, worker):
        return int(worker.events("runner_started")[-1]["pid"])

    def with_heavy_model(self, *more, config=None):
        """A worker that has a model that computes for 0.3 ms a row; (worker, version)."""
        worker = self.joined(*more)
        version = self.broker.add_model(slow(60), config)
        self.signature(version)
        return worker, version

    def heavy_work(self, version, rows=10000):
        """Dispatch what takes seconds on any machine; returns its number once it has begun."""
        number = self.broker.dispatch(version, [{"x": heavy_rows(rows)}])[0]
        self.broker.until("the work to begin", lambda: number in self.broker.started)
        return number

    def with_loop(self, *more):
        """A worker that has a model of one row that computes as long as it is told; (worker, version)."""
        worker = self.joined(*more)
        version = self.broker.add_model(loop())
        self.signature(version)
        return worker, version

    def endless_work(self, version):
        """Dispatch one row that takes minutes; returns its number once it has begun."""
        number = self.broker.dispatch(version, [{
            "count": numpy.array(10 ** 7, numpy.int64), "x": heavy_rows(1)}])[0]
        self.broker.until("the work to begin", lambda: number in self.broker.started)
        return number

    def long_work(self, version, name, tasks=1, rows=20000):
        """Dispatch something that computes for a while; returns once it has begun."""
        numbers = self.broker.dispatch(version, [{name: pictures(rows)}] * tasks)
        self.broker.until("the work to begin", lambda: numbers[0] in self.broker.started)
        return numbers


class Results(WorkerCase):
    def test_a_worker_needs_nothing_but_the_address_and_fetches_what_it_is_given(self):
        worker, version, name = self.with_model()
        answer = self.broker.wait_results(
            self.broker.dispatch(version, [{name: pictures(3)}], ROWS=3))[0]
        self.assertEqual((answer["STATUS"], answer["ROWS"]), (0, 3))
        self.assertEqual(next(iter(answer["outputs"].values())).shape, (3, 10))
        self.assertGreater(answer["COMPUTE_NS"], 0)
        self.assertEqual(len(worker.events("model_fetched")), 1)

    def test_rows_are_the_same_bytes_alone_in_company_and_in_a_large_task(self):
        _, version, name = self.with_model()
        x = pictures(80)
        whole = self.broker.dispatch(version, [{name: x}])
        single = self.broker.dispatch(version, [{name: x[i:i + 1]} for i in range(80)])
        first = next(iter(self.broker.wait_results(whole)[0]["outputs"].values()))
        rest = [next(iter(r["outputs"].values())) for r in self.broker.wait_results(single)]
        self.assertEqual(first.tobytes(), b"".join(r.tobytes() for r in rest))

    def test_an_id_that_is_held_runs_once_and_is_answered_again(self):
        _, version, name = self.with_model()
        self.broker.acknowledge = False
        number = self.broker.dispatch(version, [{name: pictures(1)}])
        self.broker.wait_results(number)
        self.broker.dispatch(version, [{name: pictures(1)}], numbers=number)
        self.broker.until("the result again", lambda: len(self.broker.results[number[0]]) == 2)
        self.assertEqual(self.broker.started.count(number[0]), 1)
        first, again = self.broker.results[number[0]]
        self.assertEqual(first["DIGEST"], again["DIGEST"])
        self.broker.acknowledge_results(number)
        self.broker.until("nothing held", lambda: self.broker.held == [])
        self.broker.dispatch(version, [{name: pictures(1)}], numbers=number)
        self.broker.until("a second run", lambda: self.broker.started.count(number[0]) == 2)

    def test_an_unacknowledged_result_comes_again_by_itself_and_in_a_new_session(self):
        self.broker.heartbeat_ms = 500
        _, version, name = self.with_model()
        self.broker.acknowledge = False
        number = self.broker.dispatch(version, [{name: pictures(1)}])[0]
        self.broker.until("the result, and again after a pause",
                          lambda: len(self.broker.results.get(number, [])) >= 2)
        self.broker.silent = True       # three beats missed: the worker opens a new session
        self.broker.until("a new session", lambda: self.broker.sessions == 2)
        hello = [fields for name, fields in self.broker.messages if name == "HELLO"][-2]
        self.assertEqual([n for _, n in wire.ids(hello, "HELD")], [number])
        self.broker.silent = False
        count = len(self.broker.results[number])
        self.broker.until("the result again", lambda: len(self.broker.results[number]) > count)

    def beats(self):
        return [fields for name, fields in self.broker.messages if name == "HEARTBEAT"]

    def test_without_work_it_beats_seldom_and_at_once_when_it_is_given_some(self):
        self.broker.idle_ms = 60000     # longer than this test waits for anything
        _, version, name = self.with_model()
        self.broker.until("a promise of idle heartbeats",
                          lambda: self.beats() and self.beats()[-1].get("NEXT_MS") == 60000)
        self.broker.acknowledge = False
        numbers = self.broker.dispatch(version, [{name: pictures(1)}])
        self.broker.until("a heartbeat that lists the task and promises the next soon",
                          lambda: "NEXT_MS" not in self.beats()[-1] and self.broker.held == numbers)
        self.broker.wait_results(numbers)
        self.broker.acknowledge_results(numbers)
        self.broker.until("idle heartbeats again", lambda: "NEXT_MS" in self.beats()[-1])

    def test_an_idle_worker_answers_a_broker_that_promises_the_next_heartbeat_sooner(self):
        self.broker.idle_ms = 60000     # by itself it would beat once in the whole test
        self.with_model()
        self.broker.until("answers to the broker's heartbeats, which have no NEXT_MS",
                          lambda: len(self.beats()) >= 4)
        self.assertEqual(self.beats()[-1].get("NEXT_MS"), 60000)

    def test_a_broker_that_knows_no_idle_period_gets_every_heartbeat(self):
        self.broker.heartbeat_ms = 200
        self.with_model()
        self.broker.until("some heartbeats", lambda: len(self.beats()) >= 4)
        self.assertFalse(any("NEXT_MS" in beat for beat in self.beats()))

    def test_credit_grows_with_what_is_finished_and_never_above_the_window(self):
        _, version, name = self.with_model("--window-tasks", "16")
        self.assertLessEqual(self.broker.credit[0], 17)
        x = {name: pictures(1)}
        for _ in range(20):
            self.broker.wait_results(self.broker.dispatch(version, [x] * 8))
        given = 1 + 160
        self.broker.until("the credit to follow", lambda: self.broker.credit[0] >= given + 8)
        self.assertLessEqual(self.broker.credit[0], given + 16)


class BadInput(WorkerCase):
    def test_wrong_inputs_are_answered_with_what_was_expected(self):
        _, version, name = self.with_model()
        cases = {"shape": {name: numpy.zeros((2, 28, 27), numpy.uint8)},
                 "type": {name: numpy.zeros((2, 28, 28), numpy.float32)},
                 "name": {"nobody": pictures(2)}, "nothing": {},
                 "more": {name: pictures(2), "more": pictures(2)}}
        for what, inputs in cases.items():
            with self.subTest(what):
                answer = self.broker.wait_results(self.broker.dispatch(version, [inputs]))[0]
                self.assertEqual(answer["STATUS"], INVALID, answer)
                self.assertTrue(answer["TEXT"])

    def test_one_wrong_task_spoils_no_neighbour(self):
        _, version, name = self.with_model()
        wrong = {name: numpy.zeros((1, 28, 27), numpy.uint8)}
        numbers = self.broker.dispatch(
            version, [wrong if i == 5 else {name: pictures(1, i)} for i in range(12)])
        statuses = [r["STATUS"] for r in self.broker.wait_results(numbers)]
        self.assertEqual(statuses, [INVALID if i == 5 else 0 for i in range(12)])

    def test_frames_that_do_not_fit_their_spec_are_answered_and_the_worker_lives(self):
        worker, version, name = self.with_model()
        spec, frames = wire.pack_tensors({name: pictures(2)})
        for number, (bad_spec, bad_frames) in enumerate((
                (spec, [frames[0][:-1]]), (spec, []), (spec, frames * 2), (b"\xc1", frames),
                (b"", frames), (spec[:-3], frames)), 1000):
            self.broker.send("DISPATCH", {"MODEL": version, "TASKS": [
                {"TASK": number, "GATEWAY": self.broker.gateway, "FRAMES": len(bad_frames),
                 "SPEC": bad_spec}]}, bad_frames)
            answer = self.broker.wait_results([number])[0]
            self.assertNotEqual(answer["STATUS"], 0)
        self.assertIsNone(worker.child.poll())

    def test_a_model_that_cannot_run_is_refused_with_its_operators(self):
        self.joined()
        for name, part in (("unsupported", "operator"), ("half", "")):
            version = self.broker.add_model((harness.DATA / f"bad/{name}.onnx").read_bytes())
            answer = self.broker.wait_results(self.broker.dispatch(version, [{}], kind=2))[0]
            self.assertEqual(answer["STATUS"], BAD_MODEL)
            self.assertIn(part, answer["TEXT"])

    def test_a_model_that_arrives_damaged_or_not_at_all_is_an_answer_too(self):
        self.joined()
        damaged = self.broker.add_model(MODEL)
        digest = max(self.broker.blobs, key=lambda key: len(self.broker.blobs[key]))
        self.broker.blobs[digest] = MODEL[:-1] + b"?"
        for version, status in ((damaged, "BAD_MODEL"), (b"?" * 32, "NOT_FOUND")):
            answer = self.broker.wait_results(self.broker.dispatch(version, [{}], kind=2))[0]
            self.assertEqual(answer["STATUS"], wire.STATUS[status], answer)

    def test_time_that_ran_out_is_an_answer_and_stops_what_runs(self):
        _, version, name = self.with_model()
        running = self.broker.dispatch(version, [{name: pictures(60000)}], BUDGET_MS=400)
        waiting = self.broker.dispatch(version, [{name: pictures(1)}], BUDGET_MS=1)
        for answer in self.broker.wait_results(running + waiting):
            self.assertEqual(answer["STATUS"], DEADLINE)

    def test_garbage_on_a_connection_is_survived(self):
        worker, version, name = self.with_model()
        for frames in ([b""], [b"x"], [b"CVY1" + b"\0" * 12, b"\xdf\xff\xff\xff\xff"],
                       [b"CVY1" + os.urandom(12), os.urandom(64), b"body"]):
            self.broker.control.send_multipart([self.broker.routes["CONTROL"], *frames])
            self.broker.data.send_multipart([self.broker.routes["DATA"], *frames])
        self.broker.until("an answer all the same", lambda: self.broker.wait_results(
            self.broker.dispatch(version, [{name: pictures(1)}])))
        self.assertIsNone(worker.child.poll())


class Deaths(WorkerCase):
    def test_the_death_of_the_runner_charges_the_task_that_ran_alone(self):
        worker, version = self.with_loop()
        numbers = [self.endless_work(version)]
        numbers += self.broker.dispatch(version, [{
            "count": numpy.array(1, numpy.int64), "x": heavy_rows(1)}])
        os.kill(self.runner_pid(worker), signal.SIGABRT)
        self.broker.until("CRASHED", lambda: self.broker.crashed)
        self.assertIn("signal 6", self.broker.crashed[numbers[0]])
        self.assertEqual(list(self.broker.crashed), numbers[:1])
        self.assertEqual(self.broker.wait_results(numbers[1:])[0]["STATUS"], 0)

    def test_the_death_of_the_runner_charges_no_task_of_many_rows(self):
        """Its rows run again, those that were computed one by one; none of them ends a runner."""
        worker, version = self.with_heavy_model()
        number = self.heavy_work(version, rows=2000)
        os.kill(self.runner_pid(worker), signal.SIGKILL)
        self.assertEqual(self.broker.wait_results([number])[0]["STATUS"], 0)
        self.assertEqual(self.broker.crashed, {})

    def test_tasks_of_one_batch_are_run_again_one_by_one_and_not_charged(self):
        worker, version = self.with_heavy_model(
            config={"batching": {"max_rows": 60000, "max_delay_ms": 5000}})
        self.heavy_work(version, rows=2000)
        numbers = self.broker.dispatch(version, [{"x": heavy_rows(1000)}] * 4)
        self.broker.until("the batch to begin", lambda: numbers[0] in self.broker.started)
        self.assertTrue(set(numbers) <= set(self.broker.started))
        os.kill(self.runner_pid(worker), signal.SIGKILL)
        answers = self.broker.wait_results(numbers)
        self.assertEqual([a["STATUS"] for a in answers], [0] * 4)
        self.assertEqual(self.broker.crashed, {})
        self.assertEqual(worker.events("runner_crashed")[-1]["tasks"], "4")

    def test_a_runner_that_hangs_is_killed_and_said_to_have_stalled(self):
        worker, version = self.with_loop("--stall-ms", "300")
        number = self.endless_work(version)
        self.broker.until("its operators to run", lambda: any(
            name == "HEARTBEAT" and fields.get("TICKS", 0) > 0 for name, fields in self.broker.messages))
        os.kill(self.runner_pid(worker), signal.SIGSTOP)
        self.broker.until("CRASHED", lambda: self.broker.crashed)
        self.assertIn("stalled", self.broker.crashed[number])

    def test_a_revoked_task_stops_at_the_next_operator_and_sends_nothing(self):
        _, version = self.with_heavy_model()
        number = self.heavy_work(version)
        self.broker.send("REVOKE", {"IDS": [wire.one_set(self.broker.gateway, [number])]})
        after = self.broker.dispatch(version, [{"x": heavy_rows(1)}])
        self.broker.wait_results(after)
        self.assertNotIn(number, self.broker.results)
        self.broker.until("nothing held", lambda: self.broker.held == [])

    def test_the_runner_dies_with_the_agent(self):
        worker, version = self.with_heavy_model()
        self.heavy_work(version)
        runner = self.runner_pid(worker)
        worker.kill()
        harness.until("the runner to be gone", lambda: not alive(runner))


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


class Ends(WorkerCase):
    def test_sigterm_gives_back_what_waits_finishes_what_runs_and_ends_well(self):
        worker, version, name = self.with_model()
        self.broker.acknowledge = False
        numbers = self.long_work(version, name, tasks=12, rows=1500)
        worker.child.send_signal(signal.SIGTERM)
        self.broker.until("DRAIN", lambda: any(m == "DRAIN" for m, _ in self.broker.messages))
        late = self.broker.dispatch(version, [{name: pictures(1)}])
        self.broker.until("every task to be finished or given back", lambda: (
            set(numbers + late) == set(self.broker.results) - {1} | set(self.broker.nacked)))
        self.assertFalse(set(self.broker.results) & set(self.broker.nacked))
        self.assertIn(late[0], self.broker.nacked)
        self.assertIsNone(worker.child.poll(), "it waits for the acknowledgements")
        self.broker.acknowledge_results(self.broker.results)
        self.broker.until("the end", lambda: worker.child.poll() is not None)
        self.assertEqual(worker.child.returncode, 0)

    def test_what_control_says_before_datas_welcome_is_heard(self):
        self.broker.early = ("DRAIN", {"STANDING": 3})  # the two connections keep no order
        worker = self.start()
        self.broker.until("the worker to end, drained", lambda: worker.child.poll() is not None)
        self.assertEqual(worker.child.returncode, 0, worker.text())
        self.assertEqual(len(worker.events("node_drained")), 1)

    def test_a_broker_that_nobody_answers_is_said_and_tried_again(self):
        port = harness.free_port()
        worker = self.start(address=f"tcp://127.0.0.1:{port}")
        worker.endpoints()
        harness.until("a line that names the address",
                      lambda: f"127.0.0.1:{port}" in worker.text())
        self.assertIsNone(worker.child.poll())
        worker.child.send_signal(signal.SIGTERM)
        self.assertEqual(worker.child.wait(harness.PATIENCE_S), 0)

    def test_addresses_off_loopback_and_unknown_kernels_are_refused_at_start(self):
        for arguments, part in ((["--brokers", "tcp://192.0.2.1:7700"], "192.0.2.1"),
                                (["--brokers", "tcp://0.0.0.0:7700"], "0.0.0.0"),
                                (["--isa", "abacus"], "abacus")):
            with self.subTest(arguments):
                end = subprocess.run(
                    [harness.BIN / "convoy-worker", "--store", self.folder / "s", *arguments],
                    capture_output=True, text=True, timeout=harness.PATIENCE_S)
                self.assertEqual(end.returncode, 78, end.stderr)
                self.assertIn(part, end.stderr)


if __name__ == "__main__":
    unittest.main()
