"""The table of README.md has each row of the failure matrix, and names only tests that exist."""
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


def defines(path, name):
    """Is there a test of this name in the file: a Python method, a C function or a macro's case?"""
    return re.search(rf"def {name}\(|\b{name}\b *\(|\({name}[,)]", (ROOT / path).read_text())


class Table(unittest.TestCase):
    def setUp(self):
        self.rows = {row[0]: row for row in ROW.findall(PAGE.read_text())}

    def test_every_row_of_the_matrix_is_there(self):
        self.assertEqual(list(self.rows), FAULTS)

    def test_every_row_names_tests_and_each_of_them_exists(self):
        for fault, _, _, tests, result in self.rows.values():
            with self.subTest(fault):
                path, found = None, 0
                for name in NAMED.findall(tests):
                    if name.startswith("make "):
                        target = name.split()[1]
                        self.assertIn(f"\n{target}:", (ROOT / "Makefile").read_text())
                    elif "/" in name:
                        path = name
                        self.assertTrue((ROOT / path).is_file(), path)
                    else:
                        self.assertTrue(defines(path, name), f"{path} has no test {name}")
                        found += 1
                self.assertGreater(found, 0, "no test is named")
                self.assertTrue(result.startswith("passes"), result)


if __name__ == "__main__":
    unittest.main()
