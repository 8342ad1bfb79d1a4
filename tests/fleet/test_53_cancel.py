"""What nobody waits for any more is not computed any more: cancelled, out of time, hung up.

The work is one row in a Loop that would take many minutes. That it was stopped shows in the next
request's answer: the worker has one runner, and computes one batch at a time.
"""
import http.client
import time
import unittest

import numpy

import oip
from harness import npy_bytes
from onnx_bytes import loop, slow
from test_51_liveness import LivenessCase, heavy_rows

MINUTES = 10 ** 7  # rounds of the loop
ONE_MS = 3         # rounds


class Stops(LivenessCase):
    def begin_loop(self):
        fleet, (worker,) = self.begin({"loop": loop()})
        oip.infer(fleet, "loop", {"count": numpy.array(ONE_MS), "x": heavy_rows(1)})
        return fleet, worker

    def free_again(self, fleet, began):
        """The runner computes something else, though it would be busy for minutes."""
        oip.infer(fleet, "loop", {"count": numpy.array(ONE_MS), "x": heavy_rows(1)},
                  parameters={"timeout": 20_000_000})
        print(f"the runner was free again within {(time.monotonic() - began) * 1000:.0f} ms")

    def test_a_client_that_hangs_up_cancels_its_request_in_the_middle_of_a_loop(self):
        fleet, worker = self.begin_loop()
        body, headers = oip.request({"count": numpy.array(MINUTES), "x": heavy_rows(1)},
                                    parameters={"timeout": 3600_000_000})
        client = http.client.HTTPConnection(*fleet.http.rsplit(":", 1))
        client.request("POST", "/v2/models/loop/infer", body, headers)
        self.computing([worker])
        began = time.monotonic()
        client.close()
        self.free_again(fleet, began)
        self.assertEqual(worker.events("runner_crashed"), [], "it was stopped, not killed")

    def test_a_request_out_of_time_is_answered_504_and_its_loop_stops(self):
        fleet, worker = self.begin_loop()
        began = time.monotonic()
        answer = oip.ask(fleet, "loop", {"count": numpy.array(MINUTES), "x": heavy_rows(1)},
                         parameters={"timeout": 700_000})
        self.assertEqual(answer.status, 504, answer.body)
        print(f"504 after {(time.monotonic() - began) * 1000:.0f} ms of 700")
        self.free_again(fleet, time.monotonic())
        self.assertEqual(worker.events("runner_crashed"), [])

    def test_a_job_that_is_cancelled_frees_the_runner_in_the_middle_of_a_chunk(self):
        fleet, (worker,) = self.begin({"slow": slow(2000), "loop": loop()})
        data = heavy_rows(4000)
        job = fleet.score(fleet.upload_bytes(npy_bytes("<f4", data.shape, data.tobytes()), "x.npy"),
                          "slow", chunk_rows=2000)
        self.computing([worker])
        began = time.monotonic()
        fleet.post(f"/v1/batches/{job}/cancel")
        self.assertEqual(fleet.wait_batch(job)["status"], "cancelled")
        self.free_again(fleet, began)
        self.assertEqual(worker.events("runner_crashed"), [])


if __name__ == "__main__":
    unittest.main()
