"""One worker and two brokers that a test plays: who is told what, and what becomes of a lost one's tasks."""
import concurrent.futures
import unittest

import numpy
import wire
from harness import BIN, Fleet, until
from oip import infer
from onnx_bytes import echo
from stub_broker import StubBroker

ONES = {"x": numpy.ones((1, 4), numpy.float32)}


class TwoBrokers(unittest.TestCase):
    def setUp(self):
        self.fleet = self.enterContext(Fleet(()))
        self.first = self.enterContext(StubBroker())
        self.second = self.enterContext(StubBroker())
        self.second.gateway = self.first.gateway  # one gateway behind both
        self.worker = self.fleet.start("worker", [
            BIN / "convoy-worker", "--brokers", f"{self.first.address},{self.second.address}",
            "--threads", "1", "--store", self.fleet.folder / "store"])
        self.worker.endpoints()
        self.until("both sessions", lambda: self.first.credit[0] and self.second.credit[0])

    def until(self, what, condition):
        def turn():
            for broker in (self.first, self.second):
                if broker:
                    broker.pump(0.01)
            return condition()
        return until(what, turn)

    def dispatch(self, broker, number, waiting=0):
        version, blobs = wire.manifest({"model.onnx": echo()})
        for one in (self.first, self.second):
            one.blobs.update(blobs)
        spec, frames = wire.pack_tensors(ONES)
        broker.send("DISPATCH", {"MODEL": version, "MODEL_NAME": "echo/1", "WAITING": waiting,
                                 "TASKS": [{"TASK": number, "GATEWAY": broker.gateway, "ROWS": 1,
                                            "FRAMES": len(frames), "SPEC": spec}]}, frames)

    def test_the_window_is_shared_by_backlog_and_no_broker_is_left_without(self):
        # The first to come was given the whole window; what was given is not taken back.
        idle, busy = sorted((self.first, self.second), key=lambda broker: -broker.credit[0])
        half = busy.credit[0]
        self.assertGreaterEqual(half, 2)
        self.assertLessEqual(half, idle.credit[0])
        self.dispatch(busy, 1, waiting=100000)
        self.until("the busy one to get more", lambda: busy.credit[0] > half * 4 // 3)

    def test_a_result_goes_back_the_way_its_task_came(self):
        self.dispatch(self.second, 1)
        self.until("the result", lambda: 1 in self.second.results)
        self.assertEqual(self.first.results, {})

    def test_what_one_broker_dispatched_is_listed_to_the_other(self):
        self.first.acknowledge = False
        self.dispatch(self.first, 1)
        self.until("HELD at the other one", lambda: self.second.held and 1 in self.second.held)

    def test_a_result_that_a_lost_broker_took_goes_through_the_other(self):
        self.first.acknowledge = False
        self.dispatch(self.first, 1)
        self.until("the first result", lambda: 1 in self.first.results)
        self.first.__exit__()
        self.first = None
        self.until("the result again", lambda: 1 in self.second.results)
        self.assertEqual(self.worker.events("broker_lost")[-1]["reason"], "the connection broke")
        self.first = self.enterContext(StubBroker())


class OneListOfWorkers(unittest.TestCase):
    def test_it_has_those_of_each_broker_and_who_is_at_both_once(self):
        fleet = self.enterContext(Fleet(()))
        fleet.add_model_bytes("echo", echo())
        brokers = []
        for _ in range(2):
            fleet.control = None
            fleet.start_broker()
            brokers.append(fleet.control)
        fleet.control = ",".join(brokers)
        fleet.start_gateway().wait_event("broker_joined", 2)
        fleet.start_worker()
        for address in brokers:
            fleet.start_worker("--brokers", address)
        fleet.wait_workers(3)
        fleet.wait_model("echo")
        before = sum(worker["rows"] for worker in fleet.workers())
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            list(clients.map(lambda _: infer(fleet, "echo", ONES), range(200)))
        until("each row to be counted once", lambda: sum(
            worker["rows"] for worker in fleet.workers()) == before + 200)
        self.assertEqual(len({worker["id"] for worker in fleet.workers()}), 3)


if __name__ == "__main__":
    unittest.main()
