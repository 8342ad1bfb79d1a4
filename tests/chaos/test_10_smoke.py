"""A minute of chaos, whole and judged; and a short one without namespaces."""
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import ROOT, SANITIZED  # noqa: E402

SEED = 6
SMOKE_S = 60
SHORT_S = 15
LAST = re.compile(r"chaos seed (\d+) namespaces (yes|no) faults (\d+) rows (\d+) lost 0 duplicated 0 "
                  r"reexecuted \d+ longest_stall_ms \d+ output identical")
TRAINED = re.compile(r"chaos: trainings (\d+) accepted \1 ended (\d+) identical \d+ cancelled "
                     r"\d+ redelivered")


class Smoke(unittest.TestCase):
    def chaos(self, *more):
        """The last line of a run that must be good: its fields."""
        print(f"seed {SEED}")
        done = subprocess.run([ROOT / "tests/chaos/run", "chaos", "--seed", str(SEED), *more],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        print(done.stdout)
        self.assertEqual(done.returncode, 0)
        found = LAST.fullmatch(done.stdout.splitlines()[-1])
        self.assertIsNotNone(found)
        trained = TRAINED.fullmatch(done.stdout.splitlines()[-2])
        self.assertIsNotNone(trained)
        self.assertGreater(int(trained[2]), 0)
        return found

    def test_a_minute_of_all_faults_loses_nothing_and_doubles_nothing(self):
        found = self.chaos("--duration", str(SMOKE_S))
        self.assertGreaterEqual(int(found[3]), SMOKE_S / 3 - 1, "a fault at least every 3 s")
        self.assertGreater(int(found[4]), 1000)

    @unittest.skipIf(SANITIZED, "the long one is enough")
    def test_without_namespaces_processes_are_killed_and_stopped(self):
        found = self.chaos("--duration", str(SHORT_S), "--loopback")
        self.assertEqual(found[2], "no")


if __name__ == "__main__":
    unittest.main()
