"""Tables in the documentation are what the programs themselves say: operators, layers, bounds."""
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

    def test_the_page_of_layers_is_what_the_reader_knows(self):
        printed = subprocess.run([BIN / "convoy-run", "build", "--layers"], capture_output=True, text=True, check=True).stdout
        self.assertEqual((ROOT / "worker/LAYERS.md").read_text(), printed, "run `make operators`")
        self.assertIn("| Dense |", printed)


class Limits(unittest.TestCase):
    def test_the_page_is_what_the_command_line_prints(self):
        printed = subprocess.run([BIN / "convoy", "help", "limits"], capture_output=True, text=True, check=True).stdout
        self.assertEqual((ROOT / "common/LIMITS.md").read_text(), printed, "run `make limits`")
        self.assertIn("| `WIRE_MESSAGE_MAX` | 64 MiB |", printed)


if __name__ == "__main__":
    unittest.main()
