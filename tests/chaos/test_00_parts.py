"""The parts of a chaos run: the schedule is the seed's alone, and the checker sees what it must."""
import contextlib
import io
import pathlib
import sqlite3
import sys
import tempfile
import time
import unittest
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "nodes"))
from faults import FAULTS, schedule  # noqa: E402
from history import ATTEMPTS_MAX, History  # noqa: E402
from load import Job  # noqa: E402
from trainings import Training  # noqa: E402

HOUR_S = 3600.0
ROWS = 100


class Schedule(unittest.TestCase):
    def test_the_same_seed_gives_the_same_faults_and_another_seed_others(self):
        self.assertEqual(schedule(5, 600), schedule(5, 600))
        self.assertNotEqual(schedule(5, 600), schedule(6, 600))

    def test_there_is_a_fault_every_three_seconds_and_a_thousand_in_an_hour(self):
        times = [event.at_s for event in schedule(1, HOUR_S)]
        self.assertLess(max(b - a for a, b in zip([0.0, *times], [*times, HOUR_S])), 3.0)
        self.assertGreater(len(times), 1000)

    def test_an_hour_has_each_fault_and_without_namespaces_those_of_processes(self):
        self.assertEqual({event.fault for event in schedule(1, HOUR_S)}, set(FAULTS))
        self.assertEqual({event.fault for event in schedule(1, HOUR_S, network=False)},
                         {fault for fault in FAULTS if not fault.network})


class Ledger:
    """A ledger with the chunks that a test wants, in place of the world."""

    def __init__(self, path):
        self.path, self.standstills = path, []
        self.database = sqlite3.connect(path)
        self.database.execute("CREATE TABLE chunk (batch, first_row, rows, done, attempts)")

    def ledger(self):
        return self.path, None

    @staticmethod
    def seconds():
        return 0.0

    def advanced(self):
        """Nobody waits."""

    def add(self, batch, *chunks):
        self.database.executemany(
            "INSERT INTO chunk VALUES (?, ?, ?, ?, ?)",
            [(uuid.UUID(batch.removeprefix("batch_")).bytes, *chunk) for chunk in chunks])
        self.database.commit()


class Checker(unittest.TestCase):
    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.ledger = Ledger(pathlib.Path(folder) / "ledger.sqlite")
        self.addCleanup(self.ledger.database.close)
        self.history = History(self.ledger)
        self.enterContext(contextlib.redirect_stdout(io.StringIO()))  # it says what it finds

    def job(self, *chunks, key="job"):
        job = Job(key, ROWS)
        job.id, job.ended = f"batch_{uuid.uuid4()}", "completed"
        self.ledger.add(job.id, *chunks)
        self.history.keys.add(key)
        self.history.accepted(job)
        return job

    def found(self):
        history = self.history
        return history.lost, history.duplicated, len(history.problems)

    def test_chunks_that_cover_each_row_once_are_well(self):
        self.history.check_chunks(self.job((0, 60, 1, 1), (60, 40, 1, 3)))
        self.assertEqual(self.found(), (0, 0, 0))
        self.assertEqual(self.history.reexecuted, 2)

    def test_a_row_that_no_chunk_has_is_lost(self):
        self.history.check_chunks(self.job((0, 60, 1, 1), (61, 39, 1, 1)))
        self.assertEqual(self.found(), (1, 0, 1))

    def test_a_chunk_that_is_not_done_is_lost(self):
        self.history.check_chunks(self.job((0, 60, 1, 1), (60, 40, 0, 1)))
        self.assertEqual(self.found(), (40, 0, 1))

    def test_rows_that_two_chunks_have_are_duplicated(self):
        self.history.check_chunks(self.job((0, 60, 1, 1), (50, 50, 1, 1)))
        self.assertEqual(self.found(), (0, 10, 1))

    def test_a_chunk_that_is_begun_too_often_is_told(self):
        self.history.check_chunks(self.job((0, ROWS, 1, ATTEMPTS_MAX + 1)))
        self.assertEqual(self.found(), (0, 0, 1))

    def states(self, *batches):
        self.history.check_states([{"id": job, "status": status, "metadata": {"chaos": key}}
                                   for job, status, key in batches])

    def test_a_job_that_is_gone_is_lost(self):
        self.job()
        self.states()
        self.assertEqual(self.found(), (ROWS, 0, 1))

    def test_a_job_that_does_not_end_is_lost(self):
        job = self.job()
        job.ended = None
        self.states((job.id, "in_progress", "job"))
        self.assertEqual(self.found(), (ROWS, 0, 1))

    def test_a_cancelled_job_that_is_completed_later_is_told(self):
        job = self.job()
        job.ended = "cancelled"
        self.states((job.id, "completed", "job"))
        self.assertEqual(self.found(), (0, 0, 1))

    def test_two_jobs_of_one_key_are_duplicated_and_a_job_of_no_key_is_told(self):
        job = self.job()
        self.states((job.id, "completed", "job"), ("batch_x", "completed", "job"))
        self.assertEqual(self.found(), (0, 1, 1))
        self.states((job.id, "completed", "job"), ("batch_y", "completed", "other"))
        self.assertEqual(self.found(), (0, 1, 2))

    def training(self, ended="completed"):
        training = Training("training")
        training.id, training.ended = f"train_{uuid.uuid4()}", ended
        self.history.trainings[training.id] = training
        return training

    def trained(self, training, status, *versions):
        self.history.check_trainings({training.id: {"status": status}}, {training.id: list(versions)})

    def test_a_training_with_one_version_is_well_and_so_is_one_whose_version_was_removed(self):
        training = self.training()
        self.trained(training, "completed", "1")
        training.kept = False
        self.trained(training, "completed")
        training.ended = "cancelled"
        self.trained(training, "cancelled")
        self.assertEqual(self.found(), (0, 0, 0))

    def test_a_training_that_is_gone_or_does_not_end_or_has_no_version_is_lost(self):
        training = self.training()
        self.history.check_trainings({}, {})
        self.assertEqual(self.found(), (1, 0, 1))
        self.trained(training, "completed")
        self.assertEqual(self.found(), (2, 0, 2))
        training.ended = None
        self.trained(training, "in_progress")
        self.assertEqual(self.found(), (3, 0, 3))

    def test_a_version_too_many_is_duplicated_and_another_end_is_told(self):
        training = self.training()
        self.trained(training, "completed", "1", "2")
        self.assertEqual(self.found(), (0, 1, 1))
        training.kept = False
        self.trained(training, "completed", "2")
        self.assertEqual(self.found(), (0, 2, 2))
        self.trained(training, "failed")
        self.assertEqual(self.found(), (0, 2, 3))
        training.ended = "cancelled"
        self.trained(training, "cancelled", "3")
        self.assertEqual(self.found(), (0, 3, 4))

    def test_a_training_that_nobody_sent_is_told(self):
        self.history.check_trainings({"train_x": {"status": "completed"}}, {})
        self.assertEqual(self.found(), (0, 1, 1))

    def test_a_wrong_answer_differs_and_no_answer_without_a_fault_is_lost(self):
        now = time.monotonic()
        self.history.answered(200, True, now, "right")
        self.history.answered(503, False, now, "refused")
        self.assertEqual(self.found(), (0, 0, 0))
        self.history.answered(200, False, now, "wrong")
        self.assertEqual(self.history.differs, 1)
        self.history.answered(None, False, now, "silent")
        self.assertEqual(self.found(), (1, 0, 2))
        self.history.excuse(1.0)
        self.history.answered(None, False, now, "silent, but the gateway was killed")
        self.assertEqual(self.found(), (1, 0, 2))


if __name__ == "__main__":
    unittest.main()
