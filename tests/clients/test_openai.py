"""openai (npm), unmodified from its package: files and batches against a running gateway."""
import json
import os
import pathlib
import ssl
import subprocess
import sys
import unittest

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import DATA, PATIENCE_S, ROOT, Fleet, make_certificate  # noqa: E402

MODEL = "rnn_plain"


class OpenAiClient(unittest.TestCase):
    def test_a_batch_of_json_lines_comes_back_with_every_row(self):
        self.score()

    def test_the_same_with_a_key_over_tls(self):
        self.score(secured=True)

    def test_a_wrong_key_and_a_missing_scope_are_the_errors_that_the_client_knows(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            fleet.start_gateway("--http-keys")
            fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
            key = fleet.post("/v1/keys", {"name": "a", "scopes": ["infer"]})["key"]
            (fleet.folder / "rows.jsonl").write_text("[1]\n")
            for secret, error in (("cvk1_wrong", "AuthenticationError"), (key, "PermissionDeniedError")):
                done = self.run_node(f"http://{fleet.http}/v1", fleet.folder / "rows.jsonl", secret)
                self.assertEqual(done.returncode, 1)
                self.assertIn(error, done.stderr)
                self.assertNotIn(secret, done.stderr)

    def run_node(self, base_url, source, key=None, cert=None):
        return subprocess.run(
            ["node", ROOT / "tests/clients/openai_batch.cjs", base_url, source,
             f"/v2/models/{MODEL}/infer"],
            env={**os.environ, "NODE_PATH": str(ROOT / "build/npm/node_modules"),
                 **({"CONVOY_API_KEY": key} if key else {}),
                 **({"NODE_EXTRA_CA_CERTS": str(cert)} if cert else {})},
            capture_output=True, text=True, timeout=PATIENCE_S)

    def score(self, secured=False):
        data = np.load(DATA / MODEL / "input.npy")
        expected = np.load(DATA / MODEL / "output.npy")
        with Fleet([MODEL]) as fleet:
            cert = key = None
            fleet.start_broker()
            if secured:
                cert, secret = make_certificate(fleet.folder)
                fleet.start_gateway("--http-keys", "--http-cert", cert, "--http-key", secret)
                fleet.tls = ssl.create_default_context(cafile=cert)
                fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
                key = fleet.post("/v1/keys", {"name": "openai", "scopes": ["batch"]})["key"]
            else:
                fleet.start_gateway()
            fleet.start_worker()
            fleet.wait_model(MODEL)
            source = fleet.folder / "requests.jsonl"
            source.write_text("".join(json.dumps({
                "custom_id": f"row {i}", "method": "POST", "url": f"/v2/models/{MODEL}/infer",
                "body": {"inputs": [{"name": "features", "datatype": "FP32",
                                     "shape": [1, *row.shape], "data": row.ravel().tolist()}]},
            }) + "\n" for i, row in enumerate(data)))
            scheme = "https" if secured else "http"
            done = self.run_node(f"{scheme}://{fleet.http}/v1", source, key, cert)
            self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["request_counts"],
                         {"total": len(data), "completed": len(data), "failed": 0})
        lines = {line["custom_id"]: line["response"] for line in answer["lines"]}
        self.assertEqual(set(lines), {f"row {i}" for i in range(len(data))})
        for i, row in enumerate(expected):
            output = lines[f"row {i}"]["body"]["outputs"][0]
            np.testing.assert_allclose(np.ravel(output["data"]), row, rtol=1e-4, atol=1e-5)
