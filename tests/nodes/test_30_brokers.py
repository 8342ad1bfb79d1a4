"""Two brokers, of which one is killed again and again in the middle of a job: every row comes exactly
once, with the same bytes, and nothing is computed twice but what died with its worker.

The reference is convoy-run on the pictures that the job repeats. How often a chunk was computed is
counted where it is computed: each worker logs the batches that it gives to its runner.
"""
import pathlib
import random
import sqlite3
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import (BIN, DATA, SANITIZED, Fleet, free_port, images, npy_bytes,  # noqa: E402
                     npy_parts, run_reference, until)

SEED = 30
PICTURES = 1000
TIMES = 5 if SANITIZED else 40
ROWS = PICTURES * TIMES
CHUNK_ROWS = 10
KILLS = 20
# A task that is sent again waits two heartbeats at most for who may have it: peers must come back within
# that even when the machine is loaded. They pause for 200 ms before they dial.
QUICK = ("--heartbeat-ms", "500", "--lease-ms", "2000")


class Brokers(Fleet):
    """A fleet whose programs are given a list of brokers."""

    def __init__(self, count=2):
        super().__init__()
        self.addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(count)]
        self.brokers = {}
        self.control = ",".join(self.addresses)

    def start_one(self, index, *more):
        broker = self.start(f"broker-{index}", [
            BIN / "convoy-broker", "--listen", self.addresses[index], *QUICK, *more])
        broker.endpoints()
        self.brokers[index] = broker
        return broker

    def metric(self, name):
        text = self.ask("GET", "/metrics").body.decode()
        return int(next(line.split()[1] for line in text.splitlines()
                        if line.startswith(f"convoy_{name} ")))

    def chunks(self):
        """Chunks of the ledger, which cover every row once; how many there are."""
        path = next((self.folder / "gateway").rglob("*.sqlite"))
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            at = count = 0
            for first, rows, done in database.execute(
                    "SELECT first_row, rows, done FROM chunk ORDER BY first_row"):
                assert (first, done) == (at, 1), (first, at, done)
                at += rows
                count += 1
            return at, count
        finally:
            database.close()


def computed(workers):
    """Tasks that these workers gave to their runners."""
    return sum(int(batch["tasks"]) for worker in workers for batch in worker.events("batch"))


class Kills(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED}")
        with Fleet() as fleet:
            source = fleet.folder / "images.npy"
            source.write_bytes(images(PICTURES, seed=SEED))
            _, _, pixels = npy_parts(source.read_bytes())
            cls.source = npy_bytes("|u1", (ROWS, 28, 28), pixels * TIMES)
            reference = run_reference(fleet.folder, DATA / "fashion_cnn.onnx", {"images": source})
            cls.expected = npy_parts(reference[0])[2] * TIMES

    def worker(self, fleet):
        return fleet.start_worker("--log-level", "debug")

    def begin(self, fleet, workers=2):
        fleet.start_gateway()
        started = [self.worker(fleet) for _ in range(workers)]
        fleet.wait_workers(workers)
        fleet.wait_model("fashion_cnn")
        return fleet.score(fleet.upload_bytes(self.source, "images.npy"),
                           chunk_rows=CHUNK_ROWS), started

    def finish(self, fleet, job):
        """Lost 0, duplicated 0, output identical; how many chunks there were."""
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["status"], "completed", batch)
        self.assertEqual(batch["request_counts"], {"total": ROWS, "completed": ROWS, "failed": 0})
        descr, shape, data = npy_parts(fleet.content(batch["output_file_id"]))
        self.assertEqual((descr, shape), ("<f4", (ROWS, 10)))
        self.assertTrue(data == self.expected, "the output's bytes differ")
        rows, chunks = fleet.chunks()
        self.assertEqual(rows, ROWS)
        return chunks

    def kill_often(self, fleet, job, also=lambda kill: None):
        """Kill one broker of the two, at random, 20 times in the first four fifths of the job; the sum
        of the tasks that were open at each kill."""
        chance, opened = random.Random(SEED), 0
        for kill in range(1, KILLS + 1):
            batch = fleet.wait_rows(job, ROWS * 4 * kill // (5 * KILLS))
            self.assertEqual(batch["status"], "in_progress", f"the job ended before kill {kill}")
            index = chance.randrange(2)
            opened += fleet.metric("tasks_open")
            fleet.brokers[index].kill()
            also(kill)
            fleet.start_one(index)
        return opened

    def test_a_broker_is_killed_twenty_times_and_nothing_is_computed_twice(self):
        with Brokers() as fleet:
            fleet.start_one(0)
            fleet.start_one(1)
            job, workers = self.begin(fleet)
            opened = self.kill_often(fleet, job)
            chunks = self.finish(fleet, job)
            moved, resent = fleet.metric("tasks_moved_total"), fleet.metric("tasks_resent_total")
            twice = computed(workers) - chunks
            print(f"kills {KILLS} rows {ROWS} chunks {chunks} lost 0 duplicated 0 moved {moved} "
                  f"open_at_kills {opened} resent {resent} computed_twice {twice}")
            self.assertGreater(moved, 0)
            # A flood would be all that is awaited, with each heartbeat after each kill.
            self.assertLessEqual(resent, opened, "a kill makes what was open be sent again once at most")
            self.assertEqual(twice, 0)

    def test_workers_die_with_their_broker_and_only_their_own_tasks_are_computed_again(self):
        with Brokers() as fleet:
            fleet.start_one(0)
            fleet.start_one(1)
            job, workers = self.begin(fleet)
            dead = []

            def also(kill):
                if kill % 5 == 0:
                    dead.append(workers.pop(0))
                    dead[-1].kill()
                    workers.append(self.worker(fleet))
            self.kill_often(fleet, job, also)
            chunks = self.finish(fleet, job)
            twice = computed(workers + dead) - chunks
            print(f"kills {KILLS} workers_killed {len(dead)} chunks {chunks} computed_twice {twice}")
            self.assertLessEqual(twice, computed(dead))

    def test_a_broker_that_is_started_later_is_learnt_from_the_first_and_takes_over(self):
        with Brokers() as fleet:
            listing = fleet.folder / "brokers"
            listing.write_text(f"{fleet.addresses[0]}  # the first\n")
            fleet.control = fleet.addresses[0]
            fleet.start_one(0, "--brokers", listing)
            job, workers = self.begin(fleet, 1)
            fleet.wait_rows(job, ROWS // 10)
            second = fleet.start_one(1, "--brokers", listing)
            listing.write_text("".join(f"{address}\n" for address in fleet.addresses))
            second.wait_event("session_open", 2)
            self.assertEqual(workers[0].wait_event("broker_learnt")["broker"], fleet.addresses[1])
            fleet.brokers[0].kill()
            self.finish(fleet, job)
            until("the second broker to be the only one", lambda: fleet.metric("brokers_up") == 1)
            self.assertEqual(fleet.metric("brokers"), 2)


if __name__ == "__main__":
    unittest.main()
