"""What is on the disk after a kill: jobs by their Idempotency-Key; and altered files, which are named."""
import sqlite3
import subprocess
import unittest

from harness import BIN, PATIENCE_S, Fleet
from onnx_bytes import echo

ROWS = b"[1,2,3,4]\n" * 20


class Disk(unittest.TestCase):
    def setUp(self):
        self.fleet = self.enterContext(Fleet(()))
        self.fleet.add_model_bytes("echo", echo())
        self.fleet.start_broker("--heartbeat-ms", "200")
        self.fleet.start_gateway()
        self.fleet.start_worker()
        self.fleet.wait_model("echo")

    def restart(self):
        self.fleet.gateway.kill()
        self.fleet.start_gateway()

    def body(self, file_id, **more):
        return {"input_file_id": file_id, "endpoint": "/v2/models/echo/infer",
                "completion_window": "24h", **more}

    def test_a_key_finds_its_job_after_a_kill_and_when_its_input_is_gone(self):
        file_id, key = self.fleet.upload_bytes(ROWS), {"Idempotency-Key": "once"}
        job = self.fleet.post("/v1/batches", self.body(file_id), key)["id"]
        self.restart()
        self.assertEqual(self.fleet.post("/v1/batches", self.body(file_id), key)["id"], job)
        self.fleet.wait_batch(job)
        self.assertEqual(self.fleet.ask("DELETE", f"/v1/files/{file_id}").status, 200)
        self.restart()
        self.assertEqual(self.fleet.post("/v1/batches", self.body(file_id), key)["id"], job)
        other = self.fleet.ask("POST", "/v1/batches", self.body(file_id, chunk_rows=1), key)
        self.assertEqual(other.status, 409, other.body)
        self.assertEqual(len(self.fleet.get("/v1/batches")["data"]), 1)

    def test_an_altered_upload_fails_its_job_instead_of_being_scored(self):
        file_id = self.fleet.upload_bytes(ROWS)
        path = self.fleet.folder / "gateway/files" / file_id.removeprefix("file-")
        path.write_bytes(ROWS.replace(b"3", b"7", 1))
        batch = self.fleet.wait_batch(self.fleet.score(file_id, "echo", "jsonl"))
        self.assertEqual(batch["status"], "failed", batch)
        self.assertIn("was altered", batch["errors"]["data"][0]["message"])

    def test_an_altered_record_is_named_and_the_gateway_does_not_start(self):
        file_id = self.fleet.upload_bytes(ROWS)
        self.fleet.gateway.kill()
        database = sqlite3.connect(self.fleet.folder / "gateway/ledger/ledger.sqlite")
        with database:
            database.execute("UPDATE file SET rows = rows + 1")
        database.close()
        done = subprocess.run([BIN / "convoy-gateway", "--brokers", self.fleet.control, "--http",
                               "127.0.0.1:0", "--data", self.fleet.folder / "gateway"],
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"table file, record id={file_id.removeprefix('file-')}: wrong checksum",
                      done.stdout + done.stderr)
        self.assertIn("restore its folder from a copy", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
