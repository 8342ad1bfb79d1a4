"""Workers join and leave: by hand while a job runs, before there is a broker, at the wrong address."""
import signal
import subprocess
import time
import unittest

from harness import BIN, PATIENCE_S, Fleet, free_port, images, logfmt, until

REFUSED = 78  # sysexits' EX_CONFIG: wrong configuration
JOIN_S = 1.0  # promised: a worker that is started by hand gets work within a second
ADDRESSES = ("tcp://10.0.0.1:1", "tcp://0.0.0.0:1", "tcp://*:1", "tcp://[::]:1",
              "tcp://example.com:1")


def run(program, *arguments):
    return subprocess.run([BIN / program, *arguments], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=PATIENCE_S)


def seconds(fields):
    """Time of a log line as seconds of its day."""
    hours, minutes, rest = fields["time"].split("T")[1].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


class Joining(unittest.TestCase):
    def test_a_worker_started_by_hand_gets_work_of_a_running_job_within_a_second(self):
        with Fleet() as fleet:
            fleet.start_all()
            fleet.wait_model("fashion_cnn")
            source = fleet.folder / "images.npy"
            source.write_bytes(images(40000))
            job = fleet.score(fleet.upload(source), chunk_rows=64)
            fleet.wait_rows(job, 1)
            start = time.monotonic()
            worker = fleet.start_worker("--name", "by-hand")
            # `running` is what the broker has leased to it.
            while not any(w["name"] == "by-hand" and w["running"] for w in fleet.workers()):
                self.assertLess(time.monotonic() - start, PATIENCE_S)
            took = time.monotonic() - start
            joined = worker.wait_event("joined")
            ready = worker.wait_event("ready")
            print(f"ready, joined and working after {took:.3f} s; joining itself took "
                  f"{seconds(joined) - seconds(ready):.3f} s")
            self.assertLess(took, JOIN_S)
            fleet.ask("POST", f"/v1/batches/{job}/cancel")

    def test_a_broker_on_another_loopback_address_is_joined(self):
        with Fleet() as fleet:
            fleet.control = "tcp://127.0.0.2:0"
            fleet.start_broker()
            self.assertIn("127.0.0.2", fleet.control)
            fleet.start_gateway()
            fleet.start_worker()
            fleet.wait_workers(1)
            fleet.wait_model("fashion_cnn")

    def test_a_worker_without_a_broker_says_so_keeps_trying_and_joins_when_one_comes(self):
        with Fleet(()) as fleet:
            fleet.control = f"tcp://127.0.0.1:{free_port()}"
            worker = fleet.start_worker()
            silent = worker.wait_event("broker_silent")
            self.assertIn(fleet.control, silent["broker"])
            self.assertTrue(silent["hint"])
            self.assertIsNone(worker.child.poll())
            fleet.start_broker()
            worker.wait_event("joined")

    def test_a_gateway_without_a_broker_answers_and_says_503_until_one_comes(self):
        with Fleet() as fleet:
            fleet.control = f"tcp://127.0.0.1:{free_port()}"
            fleet.start_gateway()
            fleet.gateway.wait_event("broker_silent")
            self.assertEqual(fleet.ask("GET", "/v2/health/live").status, 200)
            self.assertEqual(fleet.ask("GET", "/v2/health/ready").status, 503)
            fleet.start_broker()
            fleet.start_worker()
            fleet.wait_model("fashion_cnn")
            until("the gateway to be ready",
                  lambda: fleet.ask("GET", "/v2/health/ready").status == 200)

    def test_a_worker_that_is_told_to_end_before_it_joined_ends_at_once(self):
        with Fleet(()) as fleet:
            fleet.control = f"tcp://127.0.0.1:{free_port()}"
            worker = fleet.start_worker()
            worker.wait_event("broker_silent")
            self.assertEqual(worker.kill(signal.SIGTERM), 0)


class Refused(unittest.TestCase):
    """A link off loopback needs CURVE: without keys no program takes such an address."""

    def check(self, program, *arguments):
        done = run(program, *arguments)
        self.assertEqual(done.returncode, REFUSED, f"{arguments}: {done.stderr}")
        said = [fields["reason"] for fields in map(logfmt, done.stderr.splitlines())
                if fields.get("event") == "start_failed"]
        self.assertEqual(len(said), 1, done.stderr)
        self.assertIn("127.0.0.1", said[0], "it does not say what to do")

    def test_an_address_off_loopback_is_refused_at_start(self):
        with Fleet(()) as fleet:
            for address in ADDRESSES:
                with self.subTest(address=address):
                    self.check("convoy-worker", "--brokers", address, "--store",
                               fleet.folder / "store")
                    self.check("convoy-gateway", "--brokers", address, "--http", "127.0.0.1:0",
                               "--data", fleet.folder / "gateway")

    def test_http_off_loopback_is_refused_at_start(self):
        with Fleet(()) as fleet:
            for address in ("10.0.0.1:80", "0.0.0.0:80", "*:80"):
                with self.subTest(address=address):
                    self.check("convoy-gateway", "--brokers", "tcp://127.0.0.1:1", "--http",
                               address, "--data", fleet.folder / "gateway")

    def test_an_address_that_is_none_is_refused_with_the_form_it_should_have(self):
        with Fleet(()) as fleet:
            for address in ("127.0.0.1:7700", "ipc:///tmp/x", "tcp://127.0.0.1",
                            "tcp://127.0.0.1:99999"):
                with self.subTest(address=address):
                    done = run("convoy-worker", "--brokers", address, "--store",
                               fleet.folder / "store")
                    self.assertEqual(done.returncode, REFUSED, done.stderr)
                    self.assertIn("tcp://", done.stderr)

    def test_a_port_that_is_taken_is_named(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            done = run("convoy-broker", "--listen", fleet.control)
            self.assertEqual(done.returncode, 75, done.stderr)
            self.assertIn(fleet.control.rsplit(":", 1)[1], done.stderr)


class Programs(unittest.TestCase):
    def test_every_program_explains_itself(self):
        for program in ("convoy-broker", "convoy-gateway", "convoy-worker", "convoy-run"):
            with self.subTest(program=program):
                done = run(program, "--help")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("--", done.stdout)

    def test_an_unknown_option_is_a_usage_error(self):
        for program, status in (("convoy-broker", 64), ("convoy-gateway", 64),
                                ("convoy-worker", 64), ("convoy-run", 2)):
            with self.subTest(program=program):
                done = run(program, "--no-such-option")
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn("no-such-option", done.stderr)


if __name__ == "__main__":
    unittest.main()
