"""A fleet that is full or has no worker: 503 with Retry-After, never a queue without an end."""
import concurrent.futures
import unittest

import numpy

import oip
from harness import Fleet, until
from onnx_bytes import echo, slow


class Full(unittest.TestCase):
    def check(self, answer):
        self.assertEqual(answer.status, 503, answer.body)
        self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
        self.assertTrue(answer.json()["error"])

    def test_without_a_worker_requests_are_answered_503(self):
        with Fleet(()) as fleet:
            fleet.add_model_bytes("echo", echo())
            fleet.start_broker("--heartbeat-ms", "200")
            fleet.start_gateway("--infer-budget-ms", "1000")  # one may be under way at the kill
            body, headers = oip.request({"x": numpy.ones((1, 4), numpy.float32)}, ("x",))

            def ask():
                return fleet.ask("POST", "/v2/models/echo/infer", body, headers)
            self.check(ask())  # nobody has looked at the model yet
            worker = fleet.start_worker()
            fleet.wait_model("echo")
            until("a worker to be seen", lambda: ask().status == 200)
            worker.kill()
            self.check(until("its end to be seen", lambda: (a := ask()).status == 503 and a))
            self.assertEqual(fleet.ask("GET", "/v2/health/ready").status, 503)
            fleet.start_worker()
            until("another worker to be seen", lambda: ask().status == 200)

    def test_beyond_the_bound_requests_are_answered_503_and_the_others_are_served(self):
        with Fleet(()) as fleet:
            fleet.add_model_bytes("slow", slow(60))
            fleet.start_broker()
            fleet.start_gateway("--online-tasks-max", "4")
            fleet.start_worker()
            fleet.wait_workers(1)
            fleet.wait_model("slow")
            body, headers = oip.request({"x": numpy.ones((8, 512), numpy.float32)}, ("x",))

            def ask(_):
                return fleet.ask("POST", "/v2/models/slow/infer", body, headers)
            with concurrent.futures.ThreadPoolExecutor(24) as pool:
                answers = list(pool.map(ask, range(24)))
            served = [a for a in answers if a.status == 200]
            refused = [a for a in answers if a.status != 200]
            self.assertGreaterEqual(len(served), 4)
            self.assertTrue(refused, "24 requests at once fitted into 4 places")
            for answer in refused:
                self.check(answer)

    def test_a_job_waits_while_online_requests_are_refused(self):
        with Fleet(()) as fleet:
            fleet.add_model_bytes("echo", echo())
            fleet.start_broker("--heartbeat-ms", "200")
            fleet.start_gateway()
            worker = fleet.start_worker()
            fleet.wait_model("echo")
            worker.kill()
            job = fleet.score(fleet.upload_bytes(b"[1,2,3,4]\n" * 50), "echo", "jsonl")
            until("the job to begin", lambda: fleet.batch(job)["status"] == "in_progress")
            fleet.start_worker()
            batch = fleet.wait_batch(job)
            self.assertEqual(batch["request_counts"]["completed"], 50)

    def test_a_broker_with_a_small_queue_gives_a_large_job_its_turn_bit_by_bit(self):
        with Fleet(()) as fleet:
            fleet.add_model_bytes("echo", echo())
            fleet.start_broker("--tasks-max", "16", "--gateway-tasks", "16")
            fleet.start_gateway()
            fleet.start_worker()
            fleet.wait_model("echo")
            job = fleet.score(fleet.upload_bytes(b"[1,2,3,4]\n" * 2000), "echo", "jsonl",
                              chunk_rows=5)
            batch = fleet.wait_batch(job)
            self.assertEqual(batch["request_counts"], {"total": 2000, "completed": 2000,
                                                       "failed": 0})


if __name__ == "__main__":
    unittest.main()
