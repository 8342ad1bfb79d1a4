"""Workers die, stop, hang: their tasks go on elsewhere, soon, and once into the result.

The brokers' heartbeats are 10 s here where something else is to notice first (the end of a connection,
a dead runner), and 0.2 s where they themselves are to tell.
"""
import concurrent.futures
import http.client
import os
import resource
import signal
import time
import unittest

import numpy

import oip
import traps
from harness import DATA, Fleet, images, npy_bytes, npy_parts, run_reference, until
from onnx_bytes import constant, loop, node, onnx_model, slow, value

SLOW_BEATS = ("--heartbeat-ms", "10000", "--lease-ms", "60000")
QUICK_BEATS = ("--heartbeat-ms", "200", "--lease-ms", "2000")
SEED = 51


def heavy_rows(count):
    return numpy.random.default_rng(SEED).standard_normal((count, 512)).astype(numpy.float32)


class LivenessCase(unittest.TestCase):
    def enterContext(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def begin(self, models, workers=1, broker=(), worker=(), environment=None):
        fleet = self.enterContext(Fleet(models=()))
        for name, octets in models.items():
            fleet.add_model_bytes(name, octets)
        if environment:
            environment = environment(fleet.folder)
        fleet.start_broker(*broker)
        fleet.start_gateway()
        started = [fleet.start_worker(*worker, environment=environment) for _ in range(workers)]
        fleet.wait_workers(workers)
        for name in models:
            fleet.wait_model(name)
        return fleet, started

    def in_background(self, call, *arguments, **more):
        pool = self.enterContext(concurrent.futures.ThreadPoolExecutor(1))
        return pool.submit(call, *arguments, **more)

    def busy_worker(self, fleet, workers):
        """Which of the workers computes."""
        def found():
            told = {w["id"]: w for w in fleet.workers()}
            running = [w["name"] for w in told.values() if w["running"] > 0]
            return running and next((w for w in workers if str(w.pid) in running[0]), None)
        return until("a worker that computes", found)

    def runner(self, worker):
        return int(worker.events("runner_started")[-1]["pid"])


class Agents(LivenessCase):
    def test_F1_the_tasks_of_a_killed_worker_are_queued_again_when_its_connection_ends(self):
        """Heartbeats are 10 s: only the socket monitor can tell so soon."""
        fleet, workers = self.begin({"slow": slow(60)}, 2, SLOW_BEATS)
        answer = self.in_background(oip.infer, fleet, "slow", {"x": heavy_rows(4000)},
                                    parameters={"timeout": 120_000_000})
        until("a worker that computes", lambda: any(cpu_busy(self.runner(w)) for w in workers))
        victim = max(workers, key=lambda w: cpu_ticks(self.runner(w)))
        began = time.monotonic()
        victim.kill()
        self.assertEqual(fleet.broker.wait_event("task_requeued")["count"], "1")
        seconds = time.monotonic() - began
        print(f"queued again after {seconds * 1000:.0f} ms")
        self.assertLess(seconds, 3)
        self.assertEqual(answer.result()["y"].shape, (4000, 512))


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[11])


def cpu_busy(pid):
    return cpu_ticks(pid) > 20


if __name__ == "__main__":
    unittest.main()
