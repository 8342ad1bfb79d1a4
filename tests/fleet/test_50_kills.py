"""Programs are killed in the middle of a dataset job; every row comes exactly once, with the same bytes.

Each job scores 16,000 rows (4,000 with a sanitizer): 1,000 pictures many times over. The reference
is convoy-run on the 1,000: what a row gives depends neither on its neighbours nor on who computes it.
"""
import contextlib
import os
import signal
import sqlite3
import unittest

from harness import DATA, SANITIZED, Fleet, images, npy_bytes, npy_parts, run_reference

PICTURES = 1000
TIMES = 4 if SANITIZED else 16
ROWS = PICTURES * TIMES
CHUNK_ROWS = 100
QUICK = ("--heartbeat-ms", "200", "--lease-ms", "2000")


class Kills(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Fleet() as fleet:
            source = fleet.folder / "images.npy"
            source.write_bytes(images(PICTURES, seed=50))
            print("seed 50")
            _, _, pixels = npy_parts(source.read_bytes())
            cls.source = npy_bytes("|u1", (ROWS, 28, 28), pixels * TIMES)
            reference = run_reference(fleet.folder, DATA / "fashion_cnn.onnx", {"images": source})
            cls.expected = npy_parts(reference[0])[2] * TIMES

    @contextlib.contextmanager
    def begin(self, workers=1, broker=()):
        """A fleet, a job in its middle, and the workers."""
        with Fleet() as fleet:
            fleet.start_broker(*broker)
            fleet.start_gateway()
            started = [fleet.start_worker() for _ in range(workers)]
            fleet.wait_workers(workers)
            fleet.wait_model("fashion_cnn")
            job = fleet.score(fleet.upload_bytes(self.source, "images.npy"), chunk_rows=CHUNK_ROWS)
            fleet.wait_rows(job, ROWS // 8)
            self.middle(fleet, job)
            yield fleet, job, started

    def middle(self, fleet, job):
        """What is killed from here on is killed in the middle of the job."""
        batch = fleet.batch(job)
        self.assertEqual(batch["status"], "in_progress")
        done = batch["request_counts"]["completed"]
        self.assertLess(done, ROWS * 3 // 4, "the job is too short for this machine")
        print(f"{done} of {ROWS} rows were done")

    def finish(self, fleet, job):
        """The job ends with every row once and the bytes that the engine alone gives."""
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["status"], "completed", batch)
        self.assertEqual(batch["request_counts"], {"total": ROWS, "completed": ROWS, "failed": 0})
        descr, shape, data = npy_parts(fleet.content(batch["output_file_id"]))
        self.assertEqual((descr, shape), ("<f4", (ROWS, 10)))
        self.assertTrue(data == self.expected, "the output's bytes differ")
        self.ledger(fleet, job)
        return batch

    def ledger(self, fleet, job):
        """The chunks of the ledger cover every row once."""
        path = next((fleet.folder / "gateway").rglob("*.sqlite"))
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            at = 0
            rows = database.execute(
                "SELECT first_row, rows, done, completed, failed FROM chunk ORDER BY first_row")
            for first, count, done, completed, failed in rows:
                self.assertEqual((first, done, completed, failed), (at, 1, count, 0))
                at += count
            self.assertEqual(at, ROWS)
        finally:
            database.close()

    def test_the_only_worker_is_killed_and_another_is_started(self):
        with self.begin() as (fleet, job, (worker,)):
            worker.kill()
            fleet.start_worker()
            batch = self.finish(fleet, job)
            self.assertGreaterEqual(batch["convoy"]["redelivered"], 1)

    def test_two_workers_are_killed_one_after_the_other(self):
        with self.begin(2) as (fleet, job, (first, second)):
            first.kill()
            third = fleet.start_worker()
            third.wait_event("model_ready")
            second.kill()
            batch = self.finish(fleet, job)
            self.assertGreaterEqual(batch["convoy"]["redelivered"], 1)

    def test_the_broker_is_killed_and_started_again(self):
        with self.begin(2) as (fleet, job, _):
            fleet.broker.kill()
            fleet.start_broker()
            self.finish(fleet, job)

    def test_the_gateway_is_killed_and_started_again(self):
        with self.begin(2) as (fleet, job, _):
            fleet.gateway.kill()
            fleet.start_gateway()
            self.finish(fleet, job)

    def test_broker_gateway_and_worker_are_killed_at_once(self):
        with self.begin() as (fleet, job, (worker,)):
            for process in (fleet.broker, fleet.gateway, worker):
                process.child.send_signal(signal.SIGKILL)
            for process in (fleet.broker, fleet.gateway, worker):
                process.child.wait()
            fleet.start_broker()
            fleet.start_gateway()
            fleet.start_worker()
            self.finish(fleet, job)

    def test_the_gateway_is_killed_again_and_again(self):
        """Often enough to meet it between the cutting of rows and the record of it."""
        with self.begin() as (fleet, job, _):
            done = ROWS // 8
            while done < ROWS * 3 // 4:
                fleet.gateway.kill()
                fleet.start_gateway()
                done = fleet.wait_rows(job, done + ROWS // 20)["request_counts"]["completed"]
            self.finish(fleet, job)

    def test_the_runner_is_killed_and_only_its_batch_is_computed_again(self):
        with self.begin() as (fleet, job, (worker,)):
            runner = int(worker.wait_event("runner_started")["pid"])
            os.kill(runner, signal.SIGKILL)
            worker.wait_event("runner_started", 2)
            self.assertIsNone(worker.child.poll())
            self.finish(fleet, job)

    def test_a_worker_that_is_told_to_end_drains_and_nothing_is_delivered_twice(self):
        with self.begin(2) as (fleet, job, (first, second)):
            self.assertEqual(first.kill(signal.SIGTERM), 0)
            batch = self.finish(fleet, job)
            self.assertEqual(batch["convoy"]["redelivered"], 0)
            self.assertIsNone(second.child.poll())

    def test_the_gateway_that_is_told_to_end_goes_on_with_its_job_after_a_restart(self):
        with self.begin() as (fleet, job, _):
            self.assertEqual(fleet.gateway.kill(signal.SIGTERM), 0)
            fleet.start_gateway()
            self.finish(fleet, job)

    def test_a_stopped_worker_loses_its_tasks_to_another_and_its_late_results_do_no_harm(self):
        with self.begin(2, QUICK) as (fleet, job, (stopped, other)):
            other.wait_event("model_ready")
            stopped.wait_event("model_ready")
            stopped.child.send_signal(signal.SIGSTOP)
            fleet.broker.wait_event("session_lost")
            fleet.wait_batch(job)
            stopped.child.send_signal(signal.SIGCONT)
            stopped.wait_event("joined", 2)
            batch = self.finish(fleet, job)
            self.assertGreaterEqual(batch["convoy"]["redelivered"], 1)

    def test_a_stopped_broker_is_waited_for(self):
        with self.begin(1, QUICK) as (fleet, job, (worker,)):
            fleet.broker.child.send_signal(signal.SIGSTOP)
            worker.wait_event("broker_lost")
            fleet.gateway.wait_event("broker_lost")
            fleet.broker.child.send_signal(signal.SIGCONT)
            self.finish(fleet, job)


if __name__ == "__main__":
    unittest.main()
