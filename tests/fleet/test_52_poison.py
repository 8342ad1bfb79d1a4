"""Rows that end the process which computes them: they alone are given up, with their cause and their input.

The kernel's defect is that of traps.py. Each runner that dies is a line of its worker's log.
"""
import concurrent.futures
import json
import os
import pathlib
import platform
import signal
import unittest

import numpy

import oip
import traps
from harness import Fleet, npy_bytes, npy_parts, until

ROWS = 10000
POISON = 6174  # the row
SEED = 52
# the number of pause(), or of ppoll() that libc makes of it
PAUSE = {"x86_64": 34}.get(platform.machine(), 73)


class PoisonCase(unittest.TestCase):
    def enterContext(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def begin(self, workers=1, broker=()):
        """A fleet whose workers have the broken kernel, and the model that meets it."""
        fleet = self.enterContext(Fleet(models=()))
        fleet.add_model_bytes("acosh", traps.model())
        fleet.start_broker(*broker)
        fleet.start_gateway()
        environment = traps.armed(fleet.folder)
        started = [fleet.start_worker(environment=environment) for _ in range(workers)]
        fleet.wait_workers(workers)
        fleet.wait_model("acosh")
        return fleet, started

    def deaths(self, workers):
        """Runners that died; each was replaced."""
        until("a new runner for each that died", lambda: all(
            len(w.events("runner_started")) == 1 + len(w.events("runner_crashed")) for w in workers))
        return [len(worker.events("runner_crashed")) for worker in workers]


@traps.needs_traps
class Rows(PoisonCase):
    def test_F20_one_poison_row_in_ten_thousand_ends_at_most_four_runners_and_costs_only_itself(self):
        fleet, workers = self.begin(2)
        data = traps.rows(ROWS, SEED)
        data[POISON, 1] = traps.ABORT
        job = fleet.score(fleet.upload_bytes(npy_bytes("<f4", data.shape, data.tobytes()), "x.npy"), "acosh")
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["status"], "completed", batch)
        self.assertEqual(batch["request_counts"], {"total": ROWS, "completed": ROWS - 1, "failed": 1})
        errors = [json.loads(line) for line in fleet.content(batch["error_file_id"]).splitlines()]
        self.assertEqual([(e["row"], e["error"]["code"]) for e in errors], [(POISON, "crashed")], errors)
        self.assertIn("signal 6", errors[0]["error"]["message"])
        _, shape, octets = npy_parts(fleet.content(batch["output_file_id"]))
        got = numpy.frombuffer(octets, numpy.float32).reshape(shape)
        good = numpy.arange(ROWS) != POISON
        self.assertTrue(numpy.isnan(got[POISON]).all())
        numpy.testing.assert_allclose(got[good], numpy.arccosh(data[good]), rtol=1e-5)
        deaths = self.deaths(workers)
        print(f"runners that died, by worker: {deaths}")
        self.assertLessEqual(sum(deaths), 4)
        self.assertTrue(all(deaths), "the second death is another worker's")
        self.assertEqual([w.child.poll() for w in workers], [None, None])

    def test_F20_requests_that_were_computed_with_a_poison_one_are_answered(self):
        fleet, workers = self.begin()
        data = traps.rows(40, SEED)
        data[17, 2] = traps.FAULT
        with concurrent.futures.ThreadPoolExecutor(len(data)) as pool:
            answers = list(pool.map(lambda row: oip.ask(fleet, "acosh", {"x": row[None]}), data))
        bad = [i for i, answer in enumerate(answers) if answer.status != 200]
        self.assertEqual(bad, [17])
        self.assertEqual(answers[17].status, 500)
        self.assertIn("signal 11", answers[17].json()["error"])
        for row, answer in zip(data, answers):
            if answer.status == 200:
                numpy.testing.assert_allclose(oip.outputs(answer)["y"], numpy.arccosh(row[None]), rtol=1e-5)
        self.assertLessEqual(sum(self.deaths(workers)), 4)

    def test_F20_a_row_inside_a_request_of_many_is_named(self):
        fleet, workers = self.begin()
        data = traps.rows(300, SEED)
        data[123, 0] = traps.ABORT
        answer = oip.ask(fleet, "acosh", {"x": data})
        self.assertEqual(answer.status, 500)
        self.assertIn("row 123 of 300", answer.json()["error"])
        self.assertEqual(self.deaths(workers), [2])
        oip.infer(fleet, "acosh", {"x": numpy.delete(data, 123, axis=0)})

    def test_F20_what_a_task_crashed_already_is_remembered_beyond_its_brokers_death(self):
        """One crash is told to a broker that is then killed, the second one to its successor."""
        fleet, (worker,) = self.begin(broker=("--heartbeat-ms", "200", "--lease-ms", "2000"))
        data = traps.rows(1, SEED)
        data[0, 0] = traps.HANG
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(oip.ask, fleet, "acosh", {"x": data}, parameters={"timeout": 60_000_000})
            for count in (1, 2):
                runner = self.hanging(worker, count)
                os.kill(runner, signal.SIGKILL)
                worker.wait_event("runner_crashed", count)
                if count == 1:
                    self.hanging(worker, 2)
                    fleet.broker.kill()
                    fleet.start_broker("--heartbeat-ms", "200", "--lease-ms", "2000")
            answer = answer.result()
        self.assertEqual(answer.status, 500, answer.body)
        self.assertIn("signal 9", answer.json()["error"])
        self.assertEqual(self.deaths([worker]), [2])

    def test_F20_rows_that_are_tasks_of_their_own_are_not_charged_for_each_other_after_a_restart(self):
        """A chunk's record sums up the attempts and crashes of its rows, of which most are innocent."""
        fleet = self.enterContext(Fleet(models=()))
        fleet.add_model_bytes("single", traps.model(rows=1))
        stall = ("--stall-ms", "1500")
        environment = traps.armed(fleet.folder)
        fleet.start_broker()
        fleet.start_gateway()
        worker = fleet.start_worker(*stall, environment=environment)
        fleet.wait_model("single")
        data = traps.rows(100, SEED).reshape(100, 1, traps.WIDTH)
        data[40, 0, 0] = traps.HANG
        job = fleet.score(fleet.upload_bytes(npy_bytes("<f4", data.shape, data.tobytes()), "x.npy"),
                          "single", chunk_rows=100)
        fleet.gateway.wait_event("chunk_crashed")
        self.hanging(worker, 2)
        for process in (fleet.gateway, fleet.broker, worker):
            process.kill()
        fleet.start_broker()
        fleet.start_gateway()
        fleet.start_worker(*stall, environment=environment)
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["request_counts"], {"total": 100, "completed": 99, "failed": 1})
        errors = [json.loads(line) for line in fleet.content(batch["error_file_id"]).splitlines()]
        self.assertEqual([e["row"] for e in errors], [40])
        self.assertIn("stalled", errors[0]["error"]["message"])

    def hanging(self, worker, count):
        """The worker's runner number `count`, once it hangs in the trap."""
        runner = int(worker.wait_event("runner_started", count)["pid"])
        until("the runner to hang in pause()", lambda: any(
            (task / "syscall").read_text().startswith(f"{PAUSE} ")
            for task in pathlib.Path(f"/proc/{runner}/task").iterdir()))
        return runner


if __name__ == "__main__":
    unittest.main()
