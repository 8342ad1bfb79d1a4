"""The table of operators in the documentation is the engine's own."""
import pathlib
import subprocess
import unittest

from harness import BIN

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Operators(unittest.TestCase):
    def test_the_page_is_what_the_engine_prints(self):
        printed = subprocess.run([BIN / "convoy-run", "--operators"], capture_output=True, text=True, check=True).stdout
        self.assertEqual((ROOT / "worker/OPERATORS.md").read_text(), printed, "run `make operators`")
        self.assertIn("| Conv | 1 to 28 | 2 to 3 | 1 |", printed)


if __name__ == "__main__":
    unittest.main()
