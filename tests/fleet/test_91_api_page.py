"""gateway/API.md: every curl example runs as it stands, and its answer is no error."""
import re
import ssl
import subprocess
import tempfile
import unittest

from harness import DATA, Fleet, PATIENCE_S, make_certificate

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
        self.run_examples(self.fleet, "curl -sS --fail-with-body")

    def test_every_example_runs_with_a_key_over_tls(self):
        with Fleet() as fleet:
            fleet.add_model("rnn_plain")
            cert, key = make_certificate(fleet.folder)
            fleet.start_broker()
            fleet.start_gateway("--http-keys", "--http-cert", cert, "--http-key", key)
            fleet.tls = ssl.create_default_context(cafile=cert)
            fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
            fleet.start_worker()
            fleet.wait_model("fashion_cnn")
            fleet.wait_model("rnn_plain")
            self.run_examples(fleet, f"curl -sS --fail-with-body --cacert {cert} "
                                     f"-H 'Authorization: Bearer {fleet.key}'", "https://")

    def run_examples(self, fleet, curl, scheme=""):
        script = examples().replace("localhost:8000", scheme + fleet.http)
        script = script.replace("tests/data/", f"{DATA}/")
        script = script.replace("curl -s", curl)
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=folder, text=True,
                                 capture_output=True, timeout=PATIENCE_S * 4)
        self.assertEqual(run.returncode, 0, run.stdout[-3000:] + run.stderr)
        stdout = run.stdout.replace('": ', '":')
        self.assertNotIn('"error":"', stdout)
        self.assertIn('"status":"completed"', stdout)
        self.assertRegex(stdout, r'"total":2,\s*"completed":2,\s*"failed":0')
        self.assertIn('"model_version":"1"', stdout)  # of the job that was trained
        self.assertIn('"status":"cancelled"', stdout)  # of the other one
        self.assertIn("convoy_http_requests_total", stdout)


if __name__ == "__main__":
    unittest.main()
