"""Tenants share the fleet: a flood from one leaves the others their part (I7), by shares or alike."""
import threading
import unittest

import numpy

from harness import DATA, Fleet, images, until
import oip
from wire_worker import Worker

MODEL = "fashion_cnn"
ROWS = 60_000
SPAN = 80_000    # rows over which parts are compared
ONLINE_MAX = 40


class Shares(unittest.TestCase):
    def fleet(self, *more):
        fleet = self.enterContext(Fleet((MODEL,)))
        fleet.start_broker()
        fleet.start_gateway("--http-keys", *more)
        fleet.key = self.admin = (fleet.folder / "gateway/admin.key").read_text().strip()
        self.worker = fleet.start_worker()
        fleet.wait_workers(1)
        fleet.wait_model(MODEL)
        self.keys = {tenant: fleet.post("/v1/keys", {
            "name": tenant, "scopes": ["infer", "batch"]})["key"] for tenant in ("acme", "lab")}
        return fleet

    def rows(self, fleet):
        fleet.key = self.admin
        return {row["tenant"]: row["rows_total"] for row in fleet.get("/v1/usage")["data"]}

    def part_of_lab(self, fleet):
        """acme has four jobs before lab has one; lab's part of the rows while both have work."""
        data = images(ROWS)
        for tenant, jobs in (("acme", 4), ("lab", 2)):
            fleet.key = self.keys[tenant]
            file_id = fleet.upload_bytes(data, "rows.npy")
            for _ in range(jobs):
                fleet.score(file_id, MODEL, chunk_rows=100)
        before = until("lab's first rows", lambda: (
            (rows := self.rows(fleet)) and rows.get("lab", 0) > 2000 and rows))
        after = until(f"{SPAN} rows more", lambda: (
            (rows := self.rows(fleet)) and sum(rows.values()) > sum(before.values()) + SPAN
            and rows))
        self.assertLess(after["acme"], 4 * ROWS, "acme had no work left: nothing was shared")
        self.assertLess(after["lab"], 2 * ROWS, "lab had no work left: nothing was shared")
        lab, acme = (after[name] - before.get(name, 0) for name in ("lab", "acme"))
        return lab / (lab + acme)

    def test_a_flood_of_jobs_leaves_the_other_tenant_half(self):
        part = self.part_of_lab(self.fleet())
        self.assertTrue(0.45 <= part <= 0.55, f"lab's part was {part:.3f}")

    def test_shares_weigh(self):
        part = self.part_of_lab(self.fleet("--tenant-shares", "acme=3"))
        self.assertTrue(0.225 <= part <= 0.275, f"lab's part was {part:.3f}")

    def test_a_flood_of_requests_leaves_the_other_tenant_room_to_begin(self):
        fleet = self.fleet("--online-tasks-max", str(ONLINE_MAX))
        self.worker.kill()
        body, headers = oip.request({"images": numpy.load(DATA / MODEL / "input.npy")[:1]}, ("images",))
        answers = {"acme": [], "lab": []}

        def ask(tenant):
            answers[tenant].append(fleet.ask(
                "POST", f"/v2/models/{MODEL}/infer", body,
                {**headers, "Authorization": f"Bearer {self.keys[tenant]}"}))

        with Worker(fleet.control, slots=100) as worker:
            worker.give_credit(1000)
            fleet.key = None
            threads = [threading.Thread(target=ask, args=("acme",)) for _ in range(60)]
            # lab is known to the gateway by one request of before.
            first = threading.Thread(target=ask, args=("lab",))
            first.start()
            worker.wait_task()
            for thread in threads:
                thread.start()
            refused = until("acme's part to be full", lambda: (
                worker.pump(0.05), len(answers["acme"]) >= 25 and answers["acme"])[1])
            for answer in refused:
                self.assertEqual(answer.status, 503, answer.body)
                self.assertIn('tenant "acme"', answer.json()["error"])
                self.assertEqual(answer.headers["connection"].lower(), "close")
            more = [threading.Thread(target=ask, args=("lab",)) for _ in range(3)]
            for thread in more:
                thread.start()
            until("lab's requests at the worker", lambda: (worker.pump(0.05), sum(
                task["TENANT"] == "lab" for _, task, _ in worker.held.values()) == 4)[1])
            self.assertEqual(answers["lab"], [])
            until("all to be answered", lambda: self.answer_all(worker, [*threads, *more, first]))
        self.assertEqual([answer.status for answer in answers["lab"]], [200] * 4)
        served = sum(answer.status == 200 for answer in answers["acme"])
        self.assertTrue(25 <= served < ONLINE_MAX, f"acme had {served} of {ONLINE_MAX}")

    def answer_all(self, worker, threads):
        for key in list(worker.held):
            worker.answer(key, {"probabilities": numpy.zeros((1, 10), numpy.float32)})
        worker.pump(0.05)
        return not any(thread.is_alive() for thread in threads)


if __name__ == "__main__":
    unittest.main()
