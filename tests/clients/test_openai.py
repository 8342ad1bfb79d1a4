"""openai (npm), unmodified from its package: files and batches against a running gateway."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import DATA, PATIENCE_S, ROOT, Fleet  # noqa: E402

MODEL = "rnn_plain"


class OpenAiClient(unittest.TestCase):
    def test_a_batch_of_json_lines_comes_back_with_every_row(self):
        data = np.load(DATA / MODEL / "input.npy")
        expected = np.load(DATA / MODEL / "output.npy")
        with Fleet([MODEL]) as fleet:
            fleet.start_all()
            fleet.wait_model(MODEL)
            source = fleet.folder / "requests.jsonl"
            source.write_text("".join(json.dumps({
                "custom_id": f"row {i}", "method": "POST", "url": f"/v2/models/{MODEL}/infer",
                "body": {"inputs": [{"name": "features", "datatype": "FP32",
                                     "shape": [1, *row.shape], "data": row.ravel().tolist()}]},
            }) + "\n" for i, row in enumerate(data)))
            done = subprocess.run(
                ["node", ROOT / "tests/clients/openai_batch.cjs", f"http://{fleet.http}/v1",
                 source, f"/v2/models/{MODEL}/infer"],
                env={**os.environ, "NODE_PATH": str(ROOT / "build/npm/node_modules")},
                capture_output=True, text=True, timeout=PATIENCE_S)
            self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["request_counts"],
                         {"total": len(data), "completed": len(data), "failed": 0})
        lines = {line["custom_id"]: line["response"] for line in answer["lines"]}
        self.assertEqual(set(lines), {f"row {i}" for i in range(len(data))})
        for i, row in enumerate(expected):
            output = lines[f"row {i}"]["body"]["outputs"][0]
            np.testing.assert_allclose(np.ravel(output["data"]), row, rtol=1e-4, atol=1e-5)
