"""Tenants: each sees its own files and jobs, and what it used; the tenant travels with its tasks."""
import sqlite3
import unittest

import numpy

from harness import DATA, Fleet, images
import oip
from wire_worker import Worker

MODEL = "fashion_cnn"


class Tenants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet((MODEL,)))
        cls.fleet.start_broker()
        cls.fleet.start_gateway("--http-keys")
        cls.admin = cls.fleet.key = (cls.fleet.folder / "gateway/admin.key").read_text().strip()
        cls.fleet.start_worker()
        cls.fleet.wait_workers(1)
        cls.fleet.wait_model(MODEL)
        cls.keys = {name: cls.fleet.post("/v1/keys", {
            "name": name, "tenant": tenant, "scopes": ["infer", "batch"]})["key"]
            for name, tenant in (("ann", "acme"), ("art", "acme"), ("zoe", "zeta"))}

    def setUp(self):
        self.fleet.key = self.admin

    def as_(self, name):
        self.fleet.key = self.keys.get(name, self.admin)
        return self.fleet

    def listed(self, path):
        return {entry["id"] for entry in self.fleet.get(path)["data"]}

    def test_files_and_batches_of_others_are_not_there(self):
        rows = images(500, seed=3)
        file_id = self.as_("ann").upload_bytes(rows, "rows.npy")
        batch = self.fleet.score(file_id, MODEL)
        done = self.fleet.wait_batch(batch)
        output = done["output_file_id"]
        self.as_("zoe")
        for method, path in (("GET", f"/v1/files/{file_id}"), ("GET", f"/v1/files/{file_id}/content"),
                             ("GET", f"/v1/files/{output}"), ("GET", f"/v1/files/{output}/content"),
                             ("DELETE", f"/v1/files/{file_id}"), ("GET", f"/v1/batches/{batch}"),
                             ("POST", f"/v1/batches/{batch}/cancel"),
                             ("GET", f"/v1/batches/{batch}/events")):
            with self.subTest(path=path, method=method):
                answer = self.fleet.ask(method, path)
                self.assertEqual(answer.status, 404, answer.body)
                # Word for word what an id that never was is answered.
                never = self.fleet.ask(method, path.replace(file_id[-8:], "00000000").replace(
                    batch[-8:], "00000000").replace(output[-8:], "00000000"))
                self.assertEqual(never.json()["error"]["code"], answer.json()["error"]["code"])
        answer = self.fleet.ask("POST", "/v1/batches", {
            "input_file_id": file_id, "endpoint": f"/v2/models/{MODEL}/infer"})
        self.assertEqual(answer.status, 400)
        self.assertIn("there is no file", answer.json()["error"]["message"])
        self.assertEqual(self.listed("/v1/files") & {file_id, output}, set())
        self.assertNotIn(batch, self.listed("/v1/batches"))
        for name in ("ann", "art", "admin"):  # the same tenant, and who may see all
            self.as_(name)
            self.assertLessEqual({file_id, output}, self.listed("/v1/files"))
            self.assertIn(batch, self.listed("/v1/batches"))
            self.assertEqual(self.fleet.ask("GET", f"/v1/files/{output}/content").status, 200)

    def test_an_idempotency_key_is_each_tenants_own(self):
        batches = {}
        for name in ("ann", "art", "zoe"):
            file_id = self.as_(name).upload_bytes(images(10, seed=4), "rows.npy")
            if name == "art":
                file_id = first_file
            answer = self.fleet.post("/v1/batches", {
                "input_file_id": file_id, "endpoint": f"/v2/models/{MODEL}/infer"},
                {"Idempotency-Key": "same"})
            batches[name] = answer["id"]
            first_file = file_id
        self.assertEqual(batches["ann"], batches["art"])
        self.assertNotEqual(batches["ann"], batches["zoe"])

    def test_usage_is_counted_for_who_asked(self):
        def used():
            self.as_("admin")
            return {row.pop("tenant"): row for row in self.fleet.get("/v1/usage")["data"]}
        data = numpy.load(DATA / MODEL / "input.npy")
        before = used().get("zeta", dict.fromkeys(
            ("requests_total", "rows_total", "input_bytes_total", "output_bytes_total"), 0))
        self.as_("zoe")
        oip.infer(self.fleet, MODEL, {"images": data[:3]}, ("images",))
        file_id = self.fleet.upload_bytes(images(100), "rows.npy")
        self.fleet.wait_batch(self.fleet.score(file_id, MODEL))
        after = used()["zeta"]
        self.assertEqual(after["requests_total"] - before["requests_total"], 1)
        self.assertEqual(after["rows_total"] - before["rows_total"], 103)
        self.assertEqual(after["input_bytes_total"] - before["input_bytes_total"], 103 * 784)
        self.assertEqual(after["output_bytes_total"] - before["output_bytes_total"], 103 * 40)
        self.assertGreater(after["compute_ns_total"], 0)
        page = self.fleet.ask("GET", "/metrics").body.decode()
        self.assertIn(f'convoy_tenant_rows_total{{tenant="zeta"}} {after["rows_total"]}\n', page)

    def test_the_ledger_says_who_is_charged(self):
        file_id = self.as_("zoe").upload_bytes(images(40, seed=9), "charged.npy")
        batch = self.fleet.score(file_id, MODEL)
        done = self.fleet.wait_batch(batch)
        blob = lambda public: bytes.fromhex(public.split("_")[-1].removeprefix("file-")  # noqa: E731
                                            .replace("-", ""))
        with sqlite3.connect(f"file:{self.fleet.folder}/gateway/ledger/ledger.sqlite?mode=ro",
                             uri=True) as ledger:
            one = lambda query, key: ledger.execute(query, (blob(key),)).fetchall()  # noqa: E731
            self.assertEqual(one("SELECT tenant FROM file WHERE id = ?", file_id), [("zeta",)])
            self.assertEqual(one("SELECT tenant FROM file WHERE id = ?", done["output_file_id"]),
                             [("zeta",)])
            self.assertEqual(one("SELECT tenant FROM batch WHERE id = ?", batch), [("zeta",)])
            self.assertEqual(set(one("SELECT tenant FROM chunk WHERE batch = ?", batch)), {("zeta",)})
            names = {row[0] for row in ledger.execute("SELECT name FROM key")}
            self.assertLessEqual({"ann", "art", "zoe", "first-admin"}, names)

    def test_the_tenant_travels_with_its_tasks_to_the_worker(self):
        with Fleet((MODEL,)) as fleet:
            fleet.start_broker()
            fleet.start_gateway("--http-keys")
            fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
            real = fleet.start_worker()
            fleet.wait_model(MODEL)  # it has read the model: from now on only rows are asked for
            real.kill()
            fleet.key = fleet.post("/v1/keys", {"name": "zoe", "tenant": "zeta",
                                                "scopes": ["batch"]})["key"]
            fleet.score(fleet.upload_bytes(images(4), "rows.npy"), MODEL)
            with Worker(fleet.control) as worker:
                worker.give_credit(8)
                _, task, _ = worker.held[worker.wait_task()]
            self.assertEqual(task["TENANT"], "zeta")


if __name__ == "__main__":
    unittest.main()
