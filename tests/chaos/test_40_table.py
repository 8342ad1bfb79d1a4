"""The table of README.md has each row of the failure matrix, and names only tests that run."""
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import ROOT  # noqa: E402

PAGE = ROOT / "tests/chaos/README.md"
ROW = re.compile(r"^\| (F\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)
NAMED = re.compile(r"`([^`]+)`")
FAULTS = [f"F{number}" for number in (*range(1, 26), 27, 28)]  # F26 asks for a database we lack
IN_MAKE_TEST = ("tests/unit/", "tests/sim/", "tests/crash/", "tests/fleet/", "tests/chaos/")


def runs(path, name):
    """Does this file run a test of this name: a method that unittest finds, or one of cmocka's list?"""
    if path.endswith(".py"):
        return re.search(rf"^    def {name}\(self", (ROOT / path).read_text(), re.M)
    return re.search(rf"\bcmocka_unit_test\w*\(\s*{name}\b", (ROOT / path).read_text())


class Table(unittest.TestCase):
    def setUp(self):
        self.rows = {row[0]: row for row in ROW.findall(PAGE.read_text())}

    def test_every_row_of_the_matrix_is_there(self):
        self.assertEqual(list(self.rows), FAULTS)

    def test_every_row_names_tests_and_each_of_them_exists(self):
        for fault, _, _, tests, result in self.rows.values():
            with self.subTest(fault):
                path, found, elsewhere = None, 0, set()
                targets = {name.split()[1] for name in NAMED.findall(tests) if name.startswith("make ")}
                for name in NAMED.findall(tests):
                    if name.startswith("make "):
                        target = name.split()[1]
                        self.assertIn(f"\n{target}:", (ROOT / "Makefile").read_text())
                    elif "/" in name:
                        path = name
                        self.assertTrue((ROOT / path).is_file(), path)
                        if not path.startswith(IN_MAKE_TEST):
                            elsewhere.add(f"test-{path.split('/')[1]}")
                    else:
                        self.assertTrue(runs(path, name), f"{path} runs no test {name}")
                        found += 1
                self.assertLessEqual(elsewhere, targets, "the target that runs it is not named")
                self.assertGreater(found, 0, "no test is named")
                self.assertTrue(result.startswith("passes"), result)


if __name__ == "__main__":
    unittest.main()
