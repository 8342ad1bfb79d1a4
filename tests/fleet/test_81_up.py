"""convoy up: a whole fleet by one command, which starts again what dies and leaves nothing behind."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

import numpy

from harness import BIN, DATA, PATIENCE_S, Fleet, free_port, make_certificate, until


def children(pid):
    """Process ids of everything below a process, by name."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = stat.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue  # it ended meanwhile
        found[int(stat.parent.name)] = (name, int(fields.split()[1]))
    below, grown = {pid}, True
    while grown:
        more = {p for p, (_, parent) in found.items() if parent in below} - below
        below |= more
        grown = bool(more)
    return {p: found[p][0] for p in below if p != pid and p in found}


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Up(unittest.TestCase):
    @contextlib.contextmanager
    def up(self, *arguments, environment=None):
        """`convoy up` on free ports; (process, gateway's address or all that it said, its folder)."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        process = subprocess.Popen(
            [BIN / "convoy", "up", "--http", "127.0.0.1:0", "--broker", "tcp://127.0.0.1:0",
             "--data", folder / "data", *arguments], cwd=folder,
            env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said = ""
            while "Ctrl-C" not in said:
                line = process.stdout.readline()
                if not line:
                    raise AssertionError(f"{said}{process.communicate()[1]}")
                said += line
            plain = re.search(r"http://(\S+)", said)
            yield process, plain.group(1) if plain else said, folder
        finally:
            below = children(process.pid)
            if process.poll() is None:
                process.kill()
            process.communicate()
            for pid in below:  # --die-with-parent ends them as well
                until(f"{below[pid]} to end", lambda p=pid: not alive(p))

    def fleet(self, address):
        """The harness's questions, asked to this gateway."""
        fleet = Fleet(())
        self.addCleanup(fleet.__exit__, None, None, None)
        fleet.http = address
        return fleet

    def test_up_starts_a_fleet_that_works_and_ctrl_c_ends_all_of_it(self):
        with self.up("--workers", "2") as (process, address, folder):
            fleet = self.fleet(address)
            fleet.wait_workers(2)
            below = children(process.pid)
            self.assertEqual(sorted(name for name in below.values() if name != "convoy-runner"
                                    )[:2], ["convoy-broker", "convoy-gateway"])
            done = subprocess.run(
                [BIN / "convoy", "models", "add", DATA / "fashion_cnn.onnx", "--gateway",
                 f"http://{address}"], capture_output=True, text=True, timeout=PATIENCE_S)
            self.assertEqual(done.returncode, 0, done.stderr)
            out = folder / "scores.npy"
            done = subprocess.run(
                [BIN / "convoy", "score", "fashion_cnn", DATA / "fashion_cnn/input.npy", "-o", out],
                capture_output=True, text=True, timeout=PATIENCE_S,
                env={**os.environ, "CONVOY_GATEWAY": f"http://{address}"})
            self.assertEqual(done.returncode, 0, done.stderr)
            numpy.testing.assert_allclose(numpy.load(out),
                                          numpy.load(DATA / "fashion_cnn/output.npy"),
                                          rtol=1e-4, atol=1e-5)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 0, said)
            for pid, name in below.items():
                until(f"{name} to be gone", lambda p=pid: not alive(p))
            self.assertEqual(sorted(p.name for p in folder.iterdir()), ["data", "scores.npy"])

    def test_a_fleet_of_two_brokers_goes_on_when_one_of_them_dies(self):
        with self.up("--workers", "1", "--brokers", "2") as (process, address, _):
            fleet = self.fleet(address)

            def brokers_up():
                text = fleet.ask("GET", "/metrics").body.decode()
                return int(re.search(r"^convoy_brokers_up (\d+)", text, re.M).group(1))
            fleet.wait_workers(1)
            until("both brokers to be there", lambda: brokers_up() == 2)
            pids = [p for p, n in children(process.pid).items() if n == "convoy-broker"]
            self.assertEqual(len(pids), 2)
            os.kill(pids[0], signal.SIGKILL)
            until("one broker to be missed", lambda: brokers_up() == 1)
            fleet.wait_workers(1)
            until("it to be back at its address", lambda: brokers_up() == 2)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 0, said)

    def test_what_dies_is_started_again_at_the_same_address(self):
        with self.up("--workers", "1") as (process, address, _):
            fleet = self.fleet(address)
            fleet.wait_workers(1)
            for name in ("convoy-worker", "convoy-gateway", "convoy-broker"):
                pid = next(p for p, n in children(process.pid).items() if n == name)
                os.kill(pid, signal.SIGKILL)
                until(f"another {name}", lambda n=name, p=pid: any(
                    q != p and m == n for q, m in children(process.pid).items()))
                until(f"the fleet to be whole after {name}", lambda: self.whole(fleet))
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 0, said)
            self.assertEqual(said.count("was started again"), 3, said)

    @staticmethod
    def whole(fleet):
        try:
            answer = fleet.ask("GET", "/v1/workers")
        except OSError:
            return False
        return answer.status == 200 and len(answer.json()["workers"]) == 1

    def test_a_second_up_on_the_same_data_or_port_says_what_is_wrong(self):
        with self.up("--workers", "1") as (_, address, folder):
            def again(*arguments):
                return subprocess.run(
                    [BIN / "convoy", "up", "--workers", "1", "--broker", "tcp://127.0.0.1:0",
                     *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                    timeout=PATIENCE_S)
            done = again("--http", "127.0.0.1:0", "--data", folder / "data")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(str(folder / "data"), done.stderr)
            done = again("--http", address, "--data", folder / "other")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(address, done.stderr)

    def test_http_off_loopback_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [BIN / "convoy", "up", "--data", f"{folder}/data", "--broker", "tcp://127.0.0.1:0",
                 "--http", f"0.0.0.0:{free_port()}"], capture_output=True, text=True,
                stdin=subprocess.DEVNULL, timeout=PATIENCE_S)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("loopback", done.stderr)

    def test_with_a_certificate_it_says_what_another_terminal_needs(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        cert, key = make_certificate(folder)
        with self.up("--http", "0.0.0.0:0", environment={
                "CONVOY_HTTP_CERT": str(cert), "CONVOY_HTTP_KEY": str(key)}) as (process, said, home):
            exports = "".join(line for line in said.splitlines(True) if "export" in line)
            done = subprocess.run(["bash", "-euc", f"{exports} {BIN}/convoy keys list"], cwd=home,
                                  capture_output=True, text=True, timeout=PATIENCE_S)
            self.assertEqual(done.returncode, 0, f"{said}{done.stderr}")
            self.assertIn("first-admin", done.stdout)
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(PATIENCE_S), 0)

    def test_when_up_itself_is_killed_its_children_end(self):
        with self.up("--workers", "1") as (process, address, _):
            self.fleet(address).wait_workers(1)
            below = children(process.pid)
            self.assertGreaterEqual(len(below), 3)
            process.kill()
            process.wait()
            for pid, name in below.items():
                until(f"{name} to end", lambda p=pid: not alive(p))


if __name__ == "__main__":
    unittest.main()
