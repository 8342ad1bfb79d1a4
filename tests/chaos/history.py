"""What was asked of the fleet, what it accepted and what it answered; and the verdict over all of it.

A job counts from the moment that the gateway accepted it (201): each of its rows must end once, with
the bytes that the engine alone gives. An online request counts when it was sent: it must end once,
with the right answer or a refusal (503, 504), unless a fault took away the gateway or the way to it.
A training job counts like a job: it must end, and what it publishes is one version with the bytes of
an undisturbed run.

    I1 every accepted row ends once         I4 what was cancelled is never completed
    I2 no job that nobody submitted         I5 no chunk is begun more often than the broker allows
    I3 no row is committed twice            I6 a submit that is repeated under its key makes one job
"""
import collections
import contextlib
import sqlite3
import threading
import time
import uuid

ATTEMPTS_MAX = 16  # attempts_max of broker/core/limits.def
AFTERMATH_S = 6.0  # after a fault, connections may still be cut or requests refused


class History:
    def __init__(self, world):
        self.world = world
        self.lock = threading.Lock()
        self.problems = []       # (seconds, sentence)
        self.rows = self.lost = self.duplicated = self.reexecuted = 0
        self.differs = 0         # answers and outputs with other bytes than the engine's
        self.faults = []         # (seconds, name, target), as injected
        self.excuses = []        # [from, to) in monotonic seconds: no answer is to be expected
        self.online = collections.Counter()  # answers by status, and "none"
        self.jobs = {}           # id: Job, once accepted
        self.keys = set()        # idempotency keys that were sent
        self.trainings = {}      # id: Training, once accepted
        self.identical = 0       # trained models with the right bytes
        self.redelivered = 0     # segments of trainings, to a worker once more

    def problem(self, text, lost=0, duplicated=0, differs=0):
        with self.lock:
            self.lost += lost
            self.duplicated += duplicated
            self.differs += differs
            self.problems.append((self.world.seconds(), text))
        recent = ", ".join(f"{at:.1f} s {name} {target}" for at, name, target in self.faults[-6:])
        print(f"chaos: PROBLEM at {self.world.seconds():.1f} s: {text}\n"
              f"chaos:   the last faults before it: {recent}", flush=True)

    def add_rows(self, rows):
        with self.lock:
            self.rows += rows

    # --- faults that take away the gateway ------------------------------------------------------

    def fault(self, name, target):
        self.faults.append((self.world.seconds(), name, target))

    def excuse(self, hold_s):
        """From now on for so long, and a moment after, the gateway may be silent."""
        now = time.monotonic()
        with self.lock:
            self.excuses.append((now, now + hold_s + AFTERMATH_S))

    def excused(self, begin_s, end_s):
        with self.lock:
            times = [*self.excuses, *((begin, end + AFTERMATH_S)
                                      for begin, end in self.world.standstills)]
        return any(begin < end_s and end > begin_s for begin, end in times)

    # --- online requests ------------------------------------------------------------------------

    def answered(self, status, right, begin_s, what):
        """An online request ended: its status, or None for no answer at all."""
        name = "none" if status is None else str(status)
        with self.lock:
            self.online[name] += 1
            self.rows += status == 200
        if status == 200:
            self.world.advanced()
            if not right:
                self.problem(f"{what}: a wrong answer", differs=1)
        elif status not in (503, 504) and not self.excused(begin_s, time.monotonic()):
            self.problem(f"{what}: {name} without a fault that explains it", lost=1)

    # --- jobs -----------------------------------------------------------------------------------

    def accepted(self, job):
        with self.lock:
            self.jobs[job.id] = job

    def check_chunks(self, job):
        """The ledger's chunks of a completed job cover each row once (I1, I3, I5)."""
        times = bytearray(job.rows)
        for first, rows, done, attempts in self.chunks(job):
            self.reexecuted += max(0, attempts - 1)
            if attempts > ATTEMPTS_MAX:
                self.problem(f"{job}: the chunk at {first} was begun {attempts} times")
            for row in range(first, first + rows if done else first):
                times[row] += 1
        lost, twice = times.count(0), len(times) - times.count(0) - times.count(1)
        if lost or twice:
            self.problem(f"{job}: {lost} rows are in no committed chunk, {twice} in two or more",
                         lost=lost, duplicated=twice)

    def chunks(self, job):
        database = sqlite3.connect(f"file:{self.world.ledger()[0]}?mode=ro", uri=True, timeout=30)
        with contextlib.closing(database):
            return database.execute(
                "SELECT first_row, rows, done, attempts FROM chunk WHERE batch = ? "
                "ORDER BY first_row", (uuid.UUID(job.id.removeprefix("batch_")).bytes,)).fetchall()

    def check_states(self, batches):
        """At the end: each accepted job is there, in the state that it ended in (I1, I2, I4, I6)."""
        found = collections.Counter(batch["metadata"]["chaos"] for batch in batches
                                    if batch.get("metadata"))
        for key, count in found.items():
            if count > 1:
                self.problem(f"{count} jobs have the key {key}", duplicated=count - 1)
            if key not in self.keys:
                self.problem(f"a job has the key {key}, which nobody sent")
        states = {batch["id"]: batch["status"] for batch in batches}
        for job in self.jobs.values():
            state = states.get(job.id)
            if state is None:
                self.problem(f"{job} is gone", lost=job.rows)
            elif job.ended and state != job.ended:
                self.problem(f"{job} ended as {job.ended} and is {state} now")
            elif not job.ended:
                self.problem(f"{job} never ended: it is {state}", lost=job.rows)

    # --- training jobs --------------------------------------------------------------------------

    def check_trainings(self, jobs, versions):
        """At the end: each accepted training is there, in the state that it ended in, and has one
        version or, cancelled or removed, none. `versions`: {job: [its versions]}."""
        for job in sorted(jobs.keys() - self.trainings.keys()):
            self.problem(f"there is a training job {job}, which nobody sent", duplicated=1)
        for training in self.trainings.values():
            state = jobs[training.id]["status"] if training.id in jobs else None
            made, right = versions.get(training.id, []), state == "completed" and training.kept
            if state is None:
                self.problem(f"{training} is gone", lost=1)
            elif training.ended and state != training.ended:
                self.problem(f"{training} ended as {training.ended} and is {state} now")
            elif not training.ended:
                self.problem(f"{training} never ended: it is {state}", lost=1)
            elif right and not made:
                self.problem(f"{training} has no version", lost=1)
            elif len(made) > right:
                self.problem(f"{training} is {state} and has the versions {', '.join(made)}",
                             duplicated=len(made) - right)
