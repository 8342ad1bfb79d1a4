"""The load of a chaos run: dataset jobs that follow one another, and clients that ask online.

Every answer is compared with what convoy-run alone gives for the same rows; a job in JSON Lines with
what the same job gave before the first fault. Clients repeat what got no answer, as a client should:
a submit under its idempotency key, everything else as it is.
"""
import http.client
import itertools
import json
import random
import re
import sys
import threading
import time

import numpy

import oip
from harness import DATA, PATIENCE_S, images, npy_bytes, npy_parts, run_reference
from world import publish

PICTURES = 1000
CHUNK_ROWS = 50  # small: there is much to lose and to repeat
TERMINAL = ("completed", "failed", "cancelled", "expired")
ASK_S = 20.0         # a client waits so long for an answer
BUDGET_US = 10_000_000
POLL_S = 0.1         # between two looks at a job
RETRY_S = 0.25       # before a client asks again
ERRORS = (OSError, http.client.HTTPException)
# What a line has of the job's and the task's own, which is different each time.
OWN = re.compile(rb'batch_req_[0-9a-f-]+_|"request_id":"[0-9]+"')


class Rows:
    """Different rows, and the bytes that the engine alone gives for each of them."""

    def __init__(self, folder, model, path, name, raw):
        self.model, self.name = model, name  # the model's and its only input's
        source = folder / "rows.npy"
        source.write_bytes(raw)
        self.descr, shape, self.data = npy_parts(raw)
        self.rows, self.shape = shape[0], shape[1:]
        self.arrays = numpy.frombuffer(self.data, self.descr).reshape(shape)
        reference = run_reference(folder, path, {name: source})
        self.answer_descr, shape, self.answer = npy_parts(reference[0])
        self.answer_shape = shape[1:]
        self.row_bytes = len(self.answer) // self.rows

    def dataset(self, times):
        """All of them, so often: a .npy file."""
        return npy_bytes(self.descr, (self.rows * times, *self.shape), self.data * times)

    def right_file(self, content, times):
        return npy_parts(content) == (self.answer_descr, (self.rows * times, *self.answer_shape),
                                      self.answer * times)

    def right(self, first, count):
        return self.answer[first * self.row_bytes:(first + count) * self.row_bytes]


def pictures(folder, seed):
    """Rows of the model that every fleet test has: some 0.1 ms each."""
    return Rows(folder, "fashion_cnn", DATA / "fashion_cnn.onnx", "images",
                images(PICTURES, seed=seed))


class Job:
    """A dataset job from its submit to its end."""

    def __init__(self, key, rows, output_format="npy", cancel_at=None):
        self.key, self.rows, self.output_format = key, rows, output_format
        self.cancel_at = cancel_at  # rows after which it is cancelled; None: never
        self.id = self.ended = self.took_s = None
        self.cancelled = False      # the gateway said that it is

    def __str__(self):
        return f"{self.key} ({self.id})"


class Asker:
    """Asks the gateway until it answers, or until `stop` says that nobody waits any more."""

    def __init__(self, world, stop):
        self.world, self.stop = world, stop

    def ask(self, method, path, body=None, headers=None, good=(200, 201, 202, 404, 409)):
        while not self.stop():
            try:
                answer = self.world.ask(method, path, body, headers, timeout=ASK_S)
                if answer.status in good:
                    return answer
                self.said = f"{method} {path}: {answer.status} {answer.body[:300]!r}"
            except ERRORS as error:
                self.said = f"{method} {path}: {error!r}"
            time.sleep(RETRY_S)  # why: a client that is refused asks again a moment later
        raise GivenUp(self.said)


class GivenUp(Exception):
    """The run is over, and the gateway has not answered."""


class Client(threading.Thread):
    """Work that goes on, one job at a time, until `finish()`; `work()` does it."""

    def __init__(self, world, history, label, rows=1):
        super().__init__(daemon=True)
        self.world, self.history, self.label = world, history, label
        self.rows = rows     # of a job: lost with it
        self.current = None  # the job that is under way
        self.over = threading.Event()
        self.deadline_s = float("inf")
        self.asker = Asker(world, lambda: time.monotonic() > self.deadline_s)

    def run(self):
        self.world.enter()
        try:
            self.work()
        except GivenUp as error:
            self.history.problem(f"no answer any more; the last was {error}",
                                 lost=self.rows if self.current else 0)
        except Exception as error:  # a thread that dies must be heard of
            self.history.problem(f"the client of the {self.label} failed: {error!r}", lost=1)
            sys.excepthook(type(error), error, error.__traceback__)

    def finish(self, patience_s):
        """No further job; the one under way has so long to end."""
        self.deadline_s = time.monotonic() + patience_s
        self.over.set()

    def pages(self, path):
        """All entries of a list."""
        entries, after = [], ""
        while True:
            page = self.asker.ask("GET", f"{path}?limit=100{after}").json()
            entries += page["data"]
            if not page.get("has_more"):
                return entries
            after = f"&after={page['data'][-1]['id']}"


class Jobs(Client):
    """Dataset jobs that follow one another, each of them judged at its end."""

    def __init__(self, world, history, source, seed, times, chunk_rows=CHUNK_ROWS):
        super().__init__(world, history, "jobs", times * source.rows)
        self.source, self.chunk_rows = source, chunk_rows
        self.chance, self.times = random.Random(seed), times
        self.done = 0       # jobs that came to their end
        self.completed = 0  # rows, so far
        self.lines = None  # of the undisturbed JSON Lines job
        self.only = None    # the one job that is wanted, if any
        self.kinds = ("npy", "npy", "jsonl", "cancelled")

    def work(self):
        for number in itertools.count():
            if self.over.is_set():
                break
            self.one(self.only or self.make(number))
            if self.only:
                break
        self.history.check_states(self.pages("/v1/batches"))
        publish(f"{len(self.history.jobs)} jobs were accepted, {self.done} came to their end")

    def make(self, number):
        kind = self.kinds[number % len(self.kinds)]
        return Job(f"job-{number}", self.rows, "jsonl" if kind == "jsonl" else "npy",
                   self.chance.randrange(self.rows) if kind == "cancelled" else None)

    def undisturbed(self):
        """Before the first fault: a job in JSON Lines that the later ones must be like."""
        self.one(Job("job-undisturbed", self.rows, "jsonl"))

    def upload(self):
        answer = self.asker.ask("PUT", "/v1/files?name=rows.npy", self.source.dataset(self.times))
        self.file = answer.json()["id"]

    # --- one job --------------------------------------------------------------------------------

    def one(self, job):
        self.current = job
        begin_s = time.monotonic()
        self.submit(job)
        batch = self.follow(job)
        job.ended, job.took_s = batch["status"], time.monotonic() - begin_s
        self.history.add_rows(batch["request_counts"]["completed"])
        self.judge(job, batch)
        self.asker.ask("DELETE", f"/v1/files/{batch['output_file_id']}")
        self.done += 1
        self.current = None

    def submit(self, job):
        self.history.keys.add(job.key)
        chunks = {"chunk_rows": self.chunk_rows} if self.chunk_rows else {}
        answer = self.asker.ask("POST", "/v1/batches", {
            "input_file_id": self.file, "endpoint": f"/v2/models/{self.source.model}/infer",
            "completion_window": "24h", "output_format": job.output_format,
            "metadata": {"chaos": job.key}, **chunks}, {"Idempotency-Key": job.key},
            good=(200, 201))
        job.id = answer.json()["id"]
        self.history.accepted(job)

    def follow(self, job):
        """The batch at its end; cancelled on the way if the job is to be."""
        seen = -1
        while True:
            answer = self.asker.ask("GET", f"/v1/batches/{job.id}")
            batch = answer.json() if answer.status == 200 else None
            if batch is None:
                raise GivenUp(f"{job}: {answer.status} {answer.body[:300]!r}")
            done = batch["request_counts"]["completed"]
            if done < seen:
                self.history.problem(f"{job}: {seen} rows were completed, now {done}")
            if done > seen:
                self.world.advanced()
            self.completed += max(0, done - max(seen, 0))
            seen = done
            if batch["status"] in TERMINAL:
                return batch
            if job.cancel_at is not None and done >= job.cancel_at:
                answer = self.asker.ask("POST", f"/v1/batches/{job.id}/cancel", "{}")
                job.cancelled = job.cancelled or answer.status == 200
            time.sleep(POLL_S)  # why: between two looks at the job

    def judge(self, job, batch):
        counts, status = batch["request_counts"], batch["status"]
        if job.cancelled:
            if status != "cancelled":
                self.history.problem(f"{job} was cancelled, and then {status}")
            return
        if status != "completed" or counts["completed"] != job.rows or counts["failed"]:
            self.history.problem(f"{job} ended as {status}: {counts} {batch.get('errors')}",
                                 lost=max(1, job.rows - counts["completed"]))
            return
        self.history.check_chunks(job)
        content = self.asker.ask("GET", f"/v1/files/{batch['output_file_id']}/content").body
        if job.output_format == "npy":
            right = self.source.right_file(content, self.times)
        else:
            content = OWN.sub(b"", content)
            self.lines = self.lines or content
            right = content == self.lines and content.count(b"\n") == job.rows
        if not right:
            self.history.problem(f"{job}: the output's bytes differ", differs=1)

    # --- the end --------------------------------------------------------------------------------

    def abandon(self):
        """Cancel the job that is under way."""
        if self.current:
            self.current.cancel_at = 0


class Online(threading.Thread):
    """A client that sends requests of one to four rows over one connection."""

    def __init__(self, world, history, source, seed, name, pause_s=0.03):
        super().__init__(daemon=True)
        self.world, self.history, self.source = world, history, source
        self.chance, self.label, self.pause_s = random.Random(seed), name, pause_s
        self.over = threading.Event()
        self.connection = None
        self.succeeded_s = 0.0

    def run(self):
        self.world.enter()
        number = 0
        while not self.over.is_set():
            self.one(f"{self.label}-{number}")
            number += 1
            self.over.wait(self.pause_s)
        self.hang_up()

    def hang_up(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def one(self, name):
        count = self.chance.randint(1, 4)
        first = self.chance.randrange(self.source.rows - count)
        body, headers = oip.request(
            {self.source.name: self.source.arrays[first:first + count]}, (self.source.name,), id=name,
            parameters={"timeout": BUDGET_US, "binary_data_output": True})
        begin = time.monotonic()
        status, right = None, False
        try:
            answer = self.ask(body, {**headers, "X-Request-Id": name})
            status = answer.status
            right = status == 200 and self.matches(answer, name, first, count)
        except ERRORS as error:
            self.hang_up()
            name = f"{name} ({error!r})"
        if status == 200:
            self.succeeded_s = time.monotonic()
        else:
            self.over.wait(RETRY_S)
        self.history.answered(status, right, begin, f"online request {name}")

    def ask(self, body, headers):
        if not self.connection:
            self.connection = http.client.HTTPConnection(self.world.http, timeout=ASK_S)
        self.connection.request("POST", f"/v2/models/{self.source.model}/infer", body, headers)
        answer = self.connection.getresponse()
        answer.body = answer.read()
        return answer

    def matches(self, answer, name, first, count):
        """The request's own id comes back, in both places, and the engine's bytes."""
        size = int(answer.headers[oip.HEADER])
        head = json.loads(answer.body[:size])
        return (head["id"] == name and answer.headers["X-Request-Id"] == name
                and answer.body[size:] == self.source.right(first, count))


__all__ = ["Job", "Jobs", "Online", "Pictures", "PATIENCE_S"]
