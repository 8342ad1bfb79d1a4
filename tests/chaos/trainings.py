"""Training jobs that follow one another under faults.

A tiny network learns a few hundred pictures in many segments, always with the same seed. Every model
that comes of it must be, octet for octet, the one that convoy-run trains alone; one job in four is
cancelled on the way and must publish nothing.
"""
import itertools
import json
import random
import subprocess
import time

import numpy

from harness import BIN, npy_bytes
from load import POLL_S, Client, GivenUp
from world import publish

ROWS, CLASSES, SIZE = 600, 4, 12
EPOCHS = 40  # and at least as many segments: one ends with each epoch
NETWORK = {"name": "chaos_net", "layers": [
    {"type": "Input", "shape": [SIZE, SIZE, 1], "dtype": "uint8"},
    {"type": "Rescaling", "scale": 1 / 255},
    {"type": "Conv2D", "filters": 32, "kernel_size": 3, "activation": "relu"},
    {"type": "Conv2D", "filters": 32, "kernel_size": 3, "activation": "relu"},
    {"type": "MaxPooling2D"}, {"type": "Flatten"}, {"type": "Dropout", "rate": 0.2},
    {"type": "Dense", "units": CLASSES, "activation": "softmax"}]}
SETTINGS = {"epochs": EPOCHS, "batch": 4, "seed": 3, "threads": 1,
            "optimizer": {"type": "adam", "learning_rate": 0.001}}
MODEL = "chaos_net"
JOBS = "/v1/training/jobs"
TERMINAL = ("completed", "failed", "cancelled")


def pictures(seed):
    """(inputs, labels) as .npy files: the bright quarter of a picture is its class."""
    chance = numpy.random.default_rng(seed)
    labels = chance.integers(0, CLASSES, ROWS)
    inputs = chance.integers(0, 120, (ROWS, SIZE, SIZE))
    half = SIZE // 2
    for picture, label in zip(inputs, labels):
        top, left = half * (label // 2), half * (label % 2)
        picture[top:top + half, left:left + half] += 100
    return (npy_bytes("|u1", inputs.shape, inputs.astype("u1").tobytes()),
            npy_bytes("|u1", labels.shape, labels.astype("u1").tobytes()))


def alone(folder, inputs, labels):
    """The model that the engine trains without a fleet."""
    files = {"network.json": json.dumps(NETWORK).encode(), "settings.json": json.dumps(SETTINGS).encode(),
             "inputs.npy": inputs, "labels.npy": labels}
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    network, settings, inputs, labels = (folder / name for name in files)
    subprocess.run([BIN / "convoy-run", "train", network, "--data", inputs, "--labels", labels,
                    "--settings", settings, "-o", folder / "alone.onnx", "--quiet"], check=True)
    return (folder / "alone.onnx").read_bytes()


class Training:
    """A training job from its submit to its end."""

    def __init__(self, key, cancel_at=None):
        self.key = key
        self.cancel_at = cancel_at  # committed segments after which it is cancelled; None: never
        self.id = self.ended = self.version = None
        self.cancelled = False      # the gateway said that it is
        self.kept = True            # its version was not removed

    def __str__(self):
        return f"{self.key} ({self.id})"


class Trainings(Client):
    """Training jobs that follow one another until `finish()`, each of them judged at its end."""

    def __init__(self, world, history, seed):
        super().__init__(world, history, "training jobs")
        self.chance = random.Random(seed)
        self.files = pictures(seed)
        self.right = alone(world.folder / "alone", *self.files)
        self.models = world.folder / "gateway/models" / MODEL
        self.newest = None  # the job whose version is there; earlier ones are removed

    def work(self):
        for number in itertools.count():
            if self.over.is_set():
                break
            cancelled = number % 4 == 3
            self.one(Training(f"training-{number}",
                              self.chance.randrange(1, EPOCHS) if cancelled else None))
        jobs = self.pages(JOBS)
        self.history.check_trainings({job["id"]: job for job in jobs}, self.versions())

    def upload(self):
        inputs, labels = (self.asker.ask("PUT", f"/v1/files?name={name}.npy&purpose=train", content)
                          for name, content in zip(("inputs", "labels"), self.files))
        self.data = {"train": {"inputs": inputs.json()["id"], "labels": labels.json()["id"]}}

    # --- one job --------------------------------------------------------------------------------

    def one(self, training):
        self.current = training
        answer = self.asker.ask("POST", JOBS, {
            "name": MODEL, "network": NETWORK, "training": SETTINGS, "data": self.data},
            {"Idempotency-Key": training.key}, good=(200,))
        training.id = answer.json()["id"]
        self.history.trainings[training.id] = training
        job = self.follow(training)
        training.ended, training.version = job["status"], job["model_version"]
        self.history.redelivered += job["convoy"]["redelivered"]
        self.judge(training, job)
        self.current = None

    def follow(self, training):
        """The job at its end; cancelled on the way if it is to be."""
        seen = 0
        while True:
            answer = self.asker.ask("GET", f"{JOBS}/{training.id}")
            if answer.status != 200:
                raise GivenUp(f"{training}: {answer.status} {answer.body[:300]!r}")
            job = answer.json()
            segments = job["convoy"]["segments"]
            if segments < seen:
                self.history.problem(f"{training}: {seen} segments were committed, now {segments}")
            seen = segments
            if job["status"] in TERMINAL:
                return job
            if training.cancel_at is not None and segments >= training.cancel_at:
                answer = self.asker.ask("POST", f"{JOBS}/{training.id}/cancel", "{}")
                training.cancelled = training.cancelled or answer.status == 200
            time.sleep(POLL_S)  # why: between two looks at the job

    def judge(self, training, job):
        status, asked = job["status"], training.cancel_at is not None
        if training.cancelled and status != "cancelled":
            self.history.problem(f"{training} was cancelled, and then {status}")
        elif status == "completed":
            self.compare(training, job)
        elif status != "cancelled" or not asked:  # the reply to a cancel may be lost
            self.history.problem(f"{training} ended as {status}: {job['errors']}", lost=1)

    def compare(self, training, job):
        """The one version that the job made is the right model."""
        version = self.models / training.version / "model.onnx"
        made = self.versions().get(training.id)
        if job["convoy"]["segments"] < EPOCHS:
            self.history.problem(f"{training} had {job['convoy']['segments']} segments")
        if made != [training.version]:
            self.history.problem(f"{training} is version {training.version}, and made {made}",
                                 lost=not made, duplicated=len(made or ()) > 1)
        elif version.read_bytes() != self.right:
            self.history.problem(f"{training}: the model's bytes differ", differs=1)
        else:
            self.history.identical += 1
        self.remove(self.newest)
        self.newest = training

    def remove(self, training):
        if training:
            self.asker.ask("DELETE", f"/v2/repository/models/{MODEL}/versions/{training.version}")
            training.kept = False

    def versions(self):
        """{job: numbers of the versions that say that it made them}."""
        made = {}
        for summary in self.models.glob("[0-9]*/training.json"):
            made.setdefault(json.loads(summary.read_text())["job"], []).append(summary.parent.name)
        return made


def published(history):
    """The line of the trainings: how many were accepted, ended, and became the right model; and how
    often a segment was given to a worker once more."""
    ended = [training for training in history.trainings.values() if training.ended]
    publish(f"trainings {len(history.trainings)} accepted {len(ended)} ended {history.identical} identical "
            f"{sum(training.ended == 'cancelled' for training in ended)} cancelled "
            f"{history.redelivered} redelivered")
