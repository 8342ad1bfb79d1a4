"""F25: memory is short. Beyond a bound requests get 503 that names it, jobs wait; who is killed for want
of memory is started again, and nothing is lost."""
import concurrent.futures
import contextlib
import http.client
import os
import pathlib
import resource
import unittest

import numpy

import oip
from harness import DATA, Fleet, images, run_reference, until
from onnx_bytes import echo, slow

MIB = 1 << 20
ROWS = 3000
ROOM = 2 * MIB  # that a starved process may still take
GROUPS = [pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/sys/fs/cgroup/memory")]  # v2, v1
LIMITS = ("memory.max", "memory.limit_in_bytes")


class Bounds(unittest.TestCase):
    """Backpressure end to end: from the broker's bound, or the gateway's, to 503 and back."""

    def fleet(self, *broker, gateway=()):
        fleet = self.enterContext(Fleet(()))
        fleet.add_model_bytes("slow", slow(20))
        fleet.add_model_bytes("echo", echo())
        fleet.start_broker(*broker)
        fleet.start_gateway(*gateway)
        fleet.start_worker("--window-tasks", "2")
        fleet.wait_workers(1)
        fleet.wait_model("slow")
        fleet.wait_model("echo")
        return fleet

    def flood(self, fleet, bound):
        """64 requests of 128 KiB at once: some are served, the others name the bound; then all are."""
        body, headers = oip.request({"x": numpy.ones((64, 512), numpy.float32)}, ("x",))

        def ask(_):
            return fleet.ask("POST", "/v2/models/slow/infer", body, headers)
        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(ask, range(64)))
        refused = [answer for answer in answers if answer.status != 200]
        self.assertTrue(refused, "64 requests at once found room")
        self.assertLess(len(refused), 60, "hardly any was served")
        for answer in refused:
            self.assertEqual(answer.status, 503, answer.body)
            self.assertGreaterEqual(int(answer.headers["retry-after"]), 1)
            self.assertIn(bound, answer.json()["error"])
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            after = list(pool.map(ask, range(8)))
        self.assertEqual([answer.status for answer in after], [200] * 8)

    def test_octets_that_wait_at_the_broker(self):
        fleet = self.fleet("--queue-bytes-max", str(MIB))
        job = fleet.score(fleet.upload_bytes(b"[1,2,3,4]\n" * 2000), "echo", "jsonl", chunk_rows=10)
        self.flood(fleet, "queue_bytes_max")
        self.assertEqual(fleet.wait_batch(job)["request_counts"]["completed"], 2000)

    def test_tasks_that_wait_at_the_broker(self):
        fleet = self.fleet("--tasks-max", "16")
        job = fleet.score(fleet.upload_bytes(b"[1,2,3,4]\n" * 2000), "echo", "jsonl", chunk_rows=10)
        self.flood(fleet, "tasks_max")
        self.assertEqual(fleet.wait_batch(job)["request_counts"]["completed"], 2000)

    def test_octets_of_online_requests_at_the_gateway(self):
        self.flood(self.fleet(gateway=("--online-bytes-max", str(MIB))), "online_bytes_max")

    def test_online_requests_at_the_gateway(self):
        self.flood(self.fleet(gateway=("--online-tasks-max", "16")), "online_tasks_max")


class Group:
    """A control group that gives a process little memory more, or else its limit of address space."""

    def __init__(self, pid, room):
        self.folder, self.how = None, "RLIMIT_AS"
        for root, name in zip(GROUPS, LIMITS):
            folder = root / f"convoy-test-{os.getpid()}-{pid}"
            if not (root / "cgroup.procs").exists():
                continue
            with contextlib.suppress(OSError):
                folder.mkdir()
                self.folder = folder
                (folder / name).write_text(str(room))
                (folder / "cgroup.procs").write_text(str(pid))
                self.how = name
                return
            self.close()
        used = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[0])
        room += used * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (room, room))

    def close(self):
        if self.folder:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
        self.folder = None


class Killed(unittest.TestCase):
    def run_beside(self, disturb):
        """A job while `disturb(fleet)` happens; its output is that of the engine alone."""
        fleet = self.enterContext(Fleet())
        fleet.add_model_bytes("echo", echo())
        fleet.start_broker()
        fleet.start_gateway()
        fleet.worker = fleet.start_worker()
        fleet.wait_workers(1)
        fleet.wait_model("fashion_cnn")
        fleet.wait_model("echo")
        rows = fleet.folder / "rows.npy"
        rows.write_bytes(images(ROWS))
        job = fleet.score(fleet.upload(rows), chunk_rows=20)
        fleet.wait_rows(job, 100)
        disturb(fleet)
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["request_counts"], {"total": ROWS, "completed": ROWS, "failed": 0})
        alone = run_reference(fleet.folder, DATA / "fashion_cnn.onnx", {"images": rows})[0]
        self.assertEqual(fleet.content(batch["output_file_id"]), alone)

    def starve(self, fleet, pid, ended):
        """Little memory is left to a process, and requests of 32 MiB come, until it has ended."""
        group = Group(pid, ROOM)
        self.addCleanup(group.close)
        print(f"process {pid} is limited by {group.how}")
        body, headers = oip.request({"x": numpy.ones((2 * MIB, 4), numpy.float32)}, ("x",))

        def ask():
            if not ended():
                with contextlib.suppress(OSError, http.client.HTTPException):
                    fleet.ask("POST", "/v2/models/echo/infer", body, headers, timeout=2)
            return ended()
        until("the process to end for want of memory", ask)

    def starve_daemon(self, fleet, process):
        self.starve(fleet, process.pid, lambda: process.child.poll() is not None)
        self.assertNotEqual(process.child.returncode, 0)

    def test_the_broker_is_out_of_memory(self):
        def disturb(fleet):
            self.starve_daemon(fleet, fleet.broker)
            fleet.start_broker()
        self.run_beside(disturb)

    def test_the_worker_is_out_of_memory(self):
        def disturb(fleet):
            self.starve_daemon(fleet, fleet.worker)
            fleet.start_worker()
        self.run_beside(disturb)

    def test_the_gateway_is_out_of_memory(self):
        def disturb(fleet):
            self.starve_daemon(fleet, fleet.gateway)
            fleet.start_gateway()
        self.run_beside(disturb)

    def test_the_runner_is_out_of_memory(self):
        def disturb(fleet):
            runner = int(fleet.worker.wait_event("runner_started")["pid"])
            self.starve(fleet, runner, lambda: len(fleet.worker.events("runner_started")) > 1)
        self.run_beside(disturb)


if __name__ == "__main__":
    unittest.main()
