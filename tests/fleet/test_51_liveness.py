"""Workers die, stop, hang: their tasks go on elsewhere, soon, and once into the result.

The brokers' heartbeats are 10 s here where something else is to notice first (the end of a connection,
a dead runner), and 0.2 s where they themselves are to tell.
"""
import concurrent.futures
import os
import resource
import signal
import time
import unittest

import numpy

import oip
import traps
from harness import Fleet, npy_bytes, until
from onnx_bytes import loop, slow

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

    def runner(self, worker):
        return int(worker.events("runner_started")[-1]["pid"])

    def computing(self, workers):
        """The worker whose runner computes, once one does."""
        idle = {self.runner(w): cpu_ticks(self.runner(w)) for w in workers}
        return until("a runner that computes", lambda: next(
            (w for w in workers if cpu_ticks(self.runner(w)) > idle[self.runner(w)] + 20), None))


def cpu_ticks(pid):
    """Processor time of a process, in hundredths of a second."""
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[11])


class Agents(LivenessCase):
    def test_F1_the_tasks_of_a_killed_worker_are_queued_again_when_its_connection_ends(self):
        """Heartbeats are 10 s: only the socket monitor can tell so soon."""
        fleet, workers = self.begin({"slow": slow(60)}, 2, SLOW_BEATS)
        answer = self.in_background(oip.infer, fleet, "slow", {"x": heavy_rows(2000)},
                                    parameters={"timeout": 120_000_000})
        victim = self.computing(workers)
        began = time.monotonic()
        victim.kill()
        self.assertEqual(fleet.broker.wait_event("task_requeued")["count"], "1")
        seconds = time.monotonic() - began
        print(f"queued again after {seconds * 1000:.0f} ms")
        self.assertLess(seconds, 3)
        self.assertEqual(answer.result()["y"].shape, (2000, 512))

    def test_F3_a_stopped_worker_loses_its_task_and_its_late_result_is_acknowledged_and_dropped(self):
        fleet, workers = self.begin({"slow": slow(60)}, 2, QUICK_BEATS)
        before = self.counter(fleet, "convoy_results_total")
        answer = self.in_background(oip.infer, fleet, "slow", {"x": heavy_rows(1000)},
                                    parameters={"timeout": 120_000_000})
        stopped = self.computing(workers)  # its runner computes on: the result waits for the agent
        stopped.child.send_signal(signal.SIGSTOP)
        self.assertEqual(fleet.broker.wait_event("task_requeued")["count"], "1")
        self.assertEqual(answer.result()["y"].shape, (1000, 512))
        self.assertEqual(self.counter(fleet, "convoy_results_total"), before + 1)
        late = self.counter(fleet, "convoy_results_duplicate_total")
        stopped.child.send_signal(signal.SIGCONT)
        stopped.wait_event("joined", 2)
        until("the late result", lambda: self.counter(fleet, "convoy_results_duplicate_total") > late)
        self.assertEqual(self.counter(fleet, "convoy_results_total"), before + 1)
        self.assertEqual(stopped.kill(signal.SIGTERM), 0)  # it drains: nothing is held any more
        self.assertEqual(stopped.events("results_unacknowledged"), [])

    def test_F7_tasks_go_on_while_the_gateway_is_dead_and_their_results_wait_for_it(self):
        fleet, (worker,) = self.begin({"slow": slow(60)}, 1, QUICK_BEATS)
        data = heavy_rows(1600)
        job = fleet.score(fleet.upload_bytes(npy_bytes("<f4", data.shape, data.tobytes()), "x.npy"),
                          "slow", chunk_rows=100)
        self.computing([worker])
        fleet.gateway.kill()
        fleet.broker.wait_event("session_lost")
        ticks = cpu_ticks(self.runner(worker))
        until("the worker to go on", lambda: cpu_ticks(self.runner(worker)) > ticks + 20)
        fleet.start_gateway()
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["request_counts"], {"total": 1600, "completed": 1600, "failed": 0})
        self.assertEqual(batch["convoy"]["redelivered"], 0, "nothing was computed twice")

    def counter(self, fleet, name):
        lines = fleet.ask("GET", "/metrics").body.decode().splitlines()
        return int(next(line.split()[-1] for line in lines if line.startswith(name + " ")))


class Runners(LivenessCase):
    def die(self, how, signal_number):
        """A runner dies in a task while heartbeats are 10 s; the time until the broker has heard of it."""
        fleet, (worker,) = self.begin({"loop": loop()}, 1, SLOW_BEATS)
        work = {"count": numpy.array(10 ** 7), "x": heavy_rows(1)}
        answer = self.in_background(oip.ask, fleet, "loop", work, parameters={"timeout": 120_000_000})
        self.computing([worker])
        os.kill(self.runner(worker), signal_number)
        began = time.monotonic()
        told = fleet.broker.wait_event("runner_crashed")
        ms = (time.monotonic() - began) * 1000
        self.assertIn(how, told["text"])
        print(f"{how}: told after {ms:.0f} ms")
        self.assertLess(ms, 3000, "before any heartbeat, or the watch over stalls, can have told it")
        worker.wait_event("runner_started", 2)
        self.assertIsNone(worker.child.poll())
        self.assertEqual(fleet.broker.events("session_lost"), [])
        self.computing([worker])  # once more, by the new runner
        os.kill(self.runner(worker), signal_number)
        self.assertEqual(answer.result().status, 500)
        once = {"count": numpy.array(3), "x": heavy_rows(1)}
        self.assertEqual(oip.infer(fleet, "loop", once)["y"].shape, (1, 512))

    def test_F2_a_killed_runner_is_told_at_once_and_replaced(self):
        self.die("signal 9", signal.SIGKILL)

    def test_F2_a_runner_that_faults_is_told_at_once_and_replaced(self):
        self.die("signal 11", signal.SIGSEGV)

    def test_F2_a_runner_that_aborts_is_told_at_once_and_replaced(self):
        self.die("signal 6", signal.SIGABRT)

    @traps.needs_traps
    def test_F2_a_runner_without_memory_ends_and_the_other_worker_is_not_disturbed(self):
        fleet, workers = self.begin({"acosh": traps.model()}, 2, SLOW_BEATS,
                                    environment=traps.armed)
        for worker in workers:  # new runners inherit it
            resource.prlimit(worker.pid, resource.RLIMIT_AS, (3 << 30, 3 << 30))
            resource.prlimit(self.runner(worker), resource.RLIMIT_AS, (3 << 30, 3 << 30))
        data = traps.rows(2, SEED)
        data[1, 3] = traps.EXHAUST
        bad = oip.ask(fleet, "acosh", {"x": data[1:]})
        self.assertEqual(bad.status, 500, bad.body)
        self.assertIn("signal 6", bad.json()["error"])
        numpy.testing.assert_allclose(oip.infer(fleet, "acosh", {"x": data[:1]})["y"],
                                      numpy.arccosh(data[:1]), rtol=1e-5)
        self.assertEqual([len(w.events("runner_crashed")) for w in workers], [1, 1])
        self.assertEqual([w.child.poll() for w in workers], [None, None])

    @traps.needs_traps
    def test_F4_a_kernel_that_hangs_is_killed_as_stalled_and_its_task_charged(self):
        """Heartbeats go on all the time: it is the missing ticks that tell."""
        fleet, (worker,) = self.begin({"acosh": traps.model()}, 1, QUICK_BEATS, ("--stall-ms", "500"),
                                      traps.armed)
        data = traps.rows(1, SEED)
        data[0, 0] = traps.HANG
        answer = oip.ask(fleet, "acosh", {"x": data}, parameters={"timeout": 120_000_000})
        self.assertEqual(answer.status, 500)
        self.assertIn("stalled", answer.json()["error"])
        self.assertEqual(len(fleet.broker.events("session_lost")), 0)
        self.assertEqual(oip.infer(fleet, "acosh", {"x": traps.rows(1, 1)})["y"].shape, (1, 4))

    def test_F4_a_stopped_runner_is_killed_as_stalled(self):
        fleet, (worker,) = self.begin({"loop": loop()}, 1, QUICK_BEATS, ("--stall-ms", "500"))
        work = {"count": numpy.array(100_000), "x": heavy_rows(1)}
        answer = self.in_background(oip.ask, fleet, "loop", work, parameters={"timeout": 120_000_000})
        self.computing([worker])
        os.kill(self.runner(worker), signal.SIGSTOP)
        self.assertIn("stalled", worker.wait_event("runner_crashed")["how"])
        self.assertEqual(answer.result().status, 200, "it was charged once, and computed again")

    def test_F4_a_loop_that_takes_long_but_goes_on_is_left_alone(self):
        fleet, (worker,) = self.begin({"loop": loop()}, 1, QUICK_BEATS, ("--stall-ms", "500"))
        rounds, took_s = 10_000, 0
        while took_s < 3 * 0.5:  # as long as no honest kernel may be silent, three times
            rounds *= 2
            began = time.monotonic()
            oip.infer(fleet, "loop", {"count": numpy.array(rounds), "x": heavy_rows(1)},
                      parameters={"timeout": 120_000_000})
            took_s = time.monotonic() - began
        self.assertEqual(worker.events("runner_crashed"), [])


if __name__ == "__main__":
    unittest.main()
