"""gateway/API.md: every curl example runs as it stands, and its answer is no error."""
import re
import subprocess
import tempfile
import unittest

from harness import DATA, Fleet, PATIENCE_S

PAGE = DATA.parent.parent / "gateway/API.md"


def examples():
    """The shell blocks of the page, joined: later ones use what earlier ones made."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.S | re.M))


class ApiPage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet())
        cls.fleet.add_model("rnn_plain")
        cls.fleet.start_all()
        cls.fleet.wait_model("fashion_cnn")
        cls.fleet.wait_model("rnn_plain")

    def test_every_example_runs_as_it_stands(self):
        script = examples().replace("localhost:8000", self.fleet.http)
        script = script.replace("tests/data/", f"{DATA}/")
        script = script.replace("curl -s", "curl -sS --fail-with-body")
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=folder, text=True,
                                 capture_output=True, timeout=PATIENCE_S * 4)
        self.assertEqual(run.returncode, 0, run.stdout[-3000:] + run.stderr)
        stdout = run.stdout.replace('": ', '":')
        self.assertNotIn('"error":"', stdout)
        self.assertIn('"status":"completed"', stdout)
        self.assertRegex(stdout, r'"total":2,\s*"completed":2,\s*"failed":0')
        self.assertIn("convoy_http_requests_total", stdout)


if __name__ == "__main__":
    unittest.main()
