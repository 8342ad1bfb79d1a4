"""Kills and stops whose behaviour has a number: within three seconds, nothing computed twice."""
import contextlib
import pathlib
import signal
import sqlite3
import sys
import time
import types
import unittest

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
import chaos  # noqa: E402
import oip  # noqa: E402
from faults import kill_all  # noqa: E402
from harness import DATA, ROOT, SANITIZED, Fleet, images, run_reference, until  # noqa: E402
from load import pictures  # noqa: E402

SEED = 20
ROWS = 20_000
REQUEUE_S = 3.0
QUICK = ("--heartbeat-ms", "200", "--lease-ms", "2000")
STOPPED_S = 5.0    # well beyond the lease
ROUNDS = 2 if SANITIZED else 4
ROUND_S = 4.0      # between two deaths of everything
INFER = "/v2/models/fashion_cnn/infer"
SHORT = oip.request({"images": numpy.zeros((1, 28, 28), "u1")}, ("images",),
                    parameters={"timeout": 200_000})


class Kills(unittest.TestCase):
    def begin(self, fleet, *broker):
        """Two workers and a job of whose rows an eighth is done."""
        print(f"seed {SEED}")
        fleet.start_broker(*broker)
        fleet.start_gateway()
        workers = [fleet.start_worker("--log-level", "debug") for _ in range(2)]
        fleet.wait_workers(2)
        fleet.wait_model("fashion_cnn")
        self.source = fleet.folder / "images.npy"
        self.source.write_bytes(images(ROWS, seed=SEED))
        job = fleet.score(fleet.upload(self.source), chunk_rows=50)
        fleet.wait_rows(job, ROWS // 8)
        return job, workers

    def finish(self, fleet, job):
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["request_counts"], {"total": ROWS, "completed": ROWS, "failed": 0})
        reference = run_reference(fleet.folder, DATA / "fashion_cnn.onnx", {"images": self.source})
        self.assertTrue(fleet.content(batch["output_file_id"]) == reference[0], "other bytes")
        return batch

    @staticmethod
    def computed(workers):
        """Tasks that these workers gave to their runners."""
        return sum(int(batch["tasks"]) for worker in workers for batch in worker.events("batch"))

    @staticmethod
    def chunks(fleet):
        path = next((fleet.folder / "gateway").rglob("*.sqlite"))
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        with contextlib.closing(database):
            return database.execute("SELECT count(*) FROM chunk").fetchone()[0]

    def test_the_tasks_of_a_killed_worker_are_queued_again_within_three_seconds(self):
        with Fleet() as fleet:
            job, (worker, _) = self.begin(fleet)
            until("it to hold tasks", lambda: any(
                peer["running"] for peer in fleet.workers() if str(worker.pid) in peer["name"]))
            killed_s = time.monotonic()
            worker.kill()
            fleet.broker.wait_event("task_requeued")
            took_s = time.monotonic() - killed_s
            print(f"queued again {took_s * 1000:.0f} ms after the kill")
            self.assertLess(took_s, REQUEUE_S)
            self.assertGreaterEqual(self.finish(fleet, job)["convoy"]["redelivered"], 1)

    def test_a_broker_that_was_stopped_redoes_nothing_and_requests_get_503_meanwhile(self):
        with Fleet() as fleet:
            job, workers = self.begin(fleet, *QUICK)
            fleet.broker.child.send_signal(signal.SIGSTOP)
            stopped_s = time.monotonic()
            fleet.gateway.wait_event("broker_lost")
            refused = until("a request to be refused", lambda: (
                (a := fleet.ask("POST", INFER, *SHORT)).status == 503 and a))
            self.assertIn("retry-after", refused.headers)
            until("the stop to be longer than any lease",
                  lambda: time.monotonic() - stopped_s > STOPPED_S)
            fleet.broker.child.send_signal(signal.SIGCONT)
            batch = self.finish(fleet, job)
            print(f"{batch['convoy']['redelivered']} chunks were given out again")
            twice = self.computed(workers) - self.chunks(fleet)
            print(f"{twice} chunks were computed twice")
            self.assertEqual(twice, 0)
            for worker in workers:
                self.assertIsNone(worker.child.poll())

    def test_everything_is_killed_again_and_again(self):
        options = types.SimpleNamespace(mode="chaos", seed=SEED, loopback=False,
                                        logs=ROOT / "build/chaos/test-20")
        with chaos.fleet(options) as play:
            play.begin(pictures(play.world.folder, SEED), chaos.TIMES, 1, chaos.CHUNK_ROWS)
            with play.world.here():
                play.jobs.undisturbed()
            play.go()
            for _ in range(ROUNDS):
                rows = play.jobs.completed
                play.history.excuse(ROUND_S)
                play.kill("all_killed", "everything", kill_all)
                play.world.run_until(time.monotonic() + ROUND_S)
                play.world.run_until(float("inf"), lambda: play.jobs.completed > rows)
            play.calm()
            play.last, play.good = play.verdict()
        self.assertEqual(play.history.problems, [])


if __name__ == "__main__":
    unittest.main()
