"""Links that are cut, deaf on one side, flapping, reset, slow; and clocks that jump. A job and online
requests go on meanwhile; every row comes once, and little is computed twice."""
import pathlib
import random
import sys
import time
import types
import unittest

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
import chaos  # noqa: E402
import faults  # noqa: E402
import oip  # noqa: E402
import onnx_bytes as onnx  # noqa: E402
from harness import ROOT  # noqa: E402
from load import pictures  # noqa: E402
from world import BROKERS, CLOCKS, FAKETIME, World  # noqa: E402

SEED = 30
HOLD_S = 6.0       # longer than three heartbeats, which end a session
CUT_OFF_S = 12.0   # longer than an online request's budget
TWICE_MAX = 300    # chunks; a worker may have 256 tasks unfinished
LARGE = (1024, 1024)  # FP32: 4 MiB
SLOW = "8mbit"        # so that they take longer than three heartbeats
PATIENCE_S = 120


class Links(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED}")
        options = types.SimpleNamespace(mode="chaos", seed=SEED, loopback=False,
                                        logs=ROOT / "build/chaos/test-30")
        cls.play = cls.enterClassContext(chaos.fleet(options, clocks=CLOCKS))
        cls.world, cls.history = cls.play.world, cls.play.history
        if not cls.world.namespaces:
            cls.play.good, cls.play.last = True, "skipped"
            raise unittest.SkipTest("no network namespaces here")
        cls.play.begin(pictures(cls.world.folder, SEED), 10, 2, chaos.CHUNK_ROWS)
        with cls.world.here():
            cls.play.jobs.undisturbed()
        cls.play.go()

    @classmethod
    def tearDownClass(cls):
        cls.play.calm()
        cls.play.last, cls.play.good = cls.play.verdict()
        super().tearDownClass()
        if not cls.play.good:
            raise AssertionError(f"{cls.play.history.problems}")

    def sessions_lost(self):
        return sum(len(self.world.members[name].process.events("session_lost"))
                   for name in BROKERS)

    def hold(self, inject, *targets, silence=False, seconds=HOLD_S):
        """The fault into each target for so long, then two more jobs; rows done meanwhile."""
        jobs, history = self.play.jobs, self.history
        rows, twice = jobs.completed, history.reexecuted
        history.fault(inject.__name__, str(targets))
        if silence:
            history.excuse(seconds)
        ends = [inject(self.world, target, random.Random(SEED)) for target in targets]
        self.world.run_until(time.monotonic() + seconds)
        rows = jobs.completed - rows
        for end in ends:
            end()
        done = jobs.done
        self.world.run_until(time.monotonic() + PATIENCE_S, lambda: jobs.done >= done + 2)
        self.assertGreaterEqual(jobs.done, done + 2, "no job ends any more")
        self.assertEqual(history.problems, [])
        print(f"{rows} rows meanwhile, {history.reexecuted - twice} chunks begun once more")
        self.assertLess(history.reexecuted - twice, TWICE_MAX)
        return rows

    def test_a_worker_cut_off_from_a_broker(self):
        self.assertGreater(self.hold(faults.cut, ("broker-1", "node-2")), 0)

    def test_a_worker_that_a_broker_does_not_hear(self):
        self.assertGreater(self.hold(faults.one_way, ("node-2", "broker-1")), 0)

    def test_a_worker_that_does_not_hear_a_broker(self):
        self.assertGreater(self.hold(faults.one_way, ("broker-1", "node-2")), 0)

    def test_a_link_that_flaps(self):
        self.assertGreater(self.hold(faults.flap, ("broker-1", "node-1")), 0)

    def test_connections_that_are_reset(self):
        links = [(broker, node) for broker in BROKERS for node in faults.NODES]
        self.hold(faults.reset, *links, seconds=0.5)

    def test_a_gateway_cut_off_from_both_brokers(self):
        self.hold(faults.cut, *[("gateway", broker) for broker in BROKERS], seconds=CUT_OFF_S)
        online = self.history.online
        self.assertGreater(online["503"] + online["504"], 0)

    def test_clients_whose_connections_are_reset_and_who_repeat(self):
        for _ in range(3):
            self.hold(faults.reset, ("clients", "gateway"), silence=True, seconds=0.5)

    @unittest.skipUnless(FAKETIME, "no libfaketime here")
    def test_a_clock_that_jumps_changes_nothing(self):
        lost = self.sessions_lost()
        for hour in (3600, -3600):
            self.assertGreater(self.hold(faults.move_clock(hour), *CLOCKS, seconds=3.0), 0)
        self.assertEqual(self.sessions_lost(), lost)


class Slow(unittest.TestCase):
    def test_a_large_tensor_over_a_slow_link_is_no_death(self):
        with World(models=()) as world:
            if not world.namespaces:
                self.skipTest("no network namespaces here")
            world.add_model_bytes("wide", onnx.echo(width=LARGE[1]))
            world.begin()
            ends = [faults.narrow_to(world, name, SLOW) for name in faults.NODES]
            x = numpy.random.default_rng(SEED).standard_normal(LARGE, numpy.float32)
            with world.here():
                begin_s = time.monotonic()
                answer = oip.infer(world, "wide", {"x": x}, ("x",), parameters={
                    "binary_data_output": True, "timeout": PATIENCE_S * 1_000_000})
            took_s = time.monotonic() - begin_s
            numpy.testing.assert_array_equal(answer["y"], x)
            self.assertGreater(took_s, 6, "the link was not slow")
            for name in BROKERS:
                self.assertEqual(world.members[name].process.events("session_lost"), [])
            for end in ends:
                end()


if __name__ == "__main__":
    unittest.main()
