"""Dead letters: what ended two runners is kept with its cause and its input, to be looked at, tried again, dropped.

The kernel's defect is that of traps.py; mending it is a worker without it, or another version of the model.
"""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import tempfile
import unittest
import uuid

import numpy

import oip
import traps
from harness import BIN, PATIENCE_S, Fleet, npy_bytes, until
from onnx_bytes import node, onnx_model, value

SEED = 54


def poison(count, at, what=traps.ABORT, **more):
    data = traps.rows(count, SEED, **more)
    data[at, 1] = what
    return data


class DeadCase(unittest.TestCase):
    def enterContext(self, context):
        value = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)
        return value

    def begin(self, *gateway, model=None):
        fleet = self.fleet = self.enterContext(Fleet(models=()))
        fleet.add_model_bytes("acosh", model or traps.model())
        fleet.start_broker("--heartbeat-ms", "200", "--lease-ms", "2000")
        fleet.start_gateway(*gateway)
        if gateway and gateway[0] == "--http-keys":
            fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
        self.worker = fleet.start_worker(environment=traps.armed(fleet.folder))
        fleet.wait_model("acosh")
        return fleet

    def kill(self, data):
        """One request that ends two runners; the id of its letter, which the answer names."""
        answer = oip.ask(self.fleet, "acosh", {"x": data})
        self.assertEqual(answer.status, 500, answer.body)
        return re.search(r"dead letter (dead-[0-9a-f-]{36})", answer.json()["error"])[1]

    def letters(self, query=""):
        return self.fleet.get(f"/v1/dead{query}")["data"]

    def letter(self, letter_id):
        return self.fleet.get(f"/v1/dead/{letter_id}")

    def kept(self, letter_id):
        """{name: array} of the input, which is an inference request in binary form."""
        answer = self.fleet.ask("GET", f"/v1/dead/{letter_id}/input")
        self.assertEqual(answer.status, 200, answer.body)
        size = int(answer.headers[oip.HEADER.lower()])
        head, tail = json.loads(answer.body[:size]), answer.body[size:]
        arrays = {}
        for entry in head["inputs"]:
            count = entry["parameters"]["binary_data_size"]
            arrays[entry["name"]] = numpy.frombuffer(
                tail[:count], oip.ARRAYS[entry["datatype"]]).reshape(entry["shape"])
            tail = tail[count:]
        self.assertEqual(tail, b"")
        return arrays

    def retry(self, letter_id, query=""):
        return self.fleet.ask("POST", f"/v1/dead/{letter_id}/retry{query}")

    def files(self):
        return sorted(path.name for path in (self.fleet.folder / "gateway/dead").iterdir())

    def mend(self):
        """In place of the worker, one whose kernel has no defect."""
        self.worker.kill()
        self.worker = self.fleet.start_worker()
        self.fleet.wait_workers(1)

    def metric(self, name):
        text = self.fleet.ask("GET", "/metrics").body.decode()
        return int(re.search(rf"^convoy_{name} (\d+)$", text, re.M)[1])

    def convoy(self, *arguments, code=0):
        done = subprocess.run(
            [BIN / "convoy", "dead", *map(str, arguments)], stdin=subprocess.DEVNULL, text=True,
            capture_output=True, timeout=PATIENCE_S, check=False,
            env={**os.environ, "CONVOY_GATEWAY": f"http://{self.fleet.http}"})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done


@traps.needs_traps
class Dead(DeadCase):
    def test_F20_a_dead_row_of_a_job_is_kept_outlives_a_kill_and_keeps_its_answer(self):
        fleet = self.begin()
        data = poison(1000, 617)
        job = fleet.score(fleet.upload_bytes(npy_bytes("<f4", data.shape, data.tobytes()), "x.npy"), "acosh")
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["request_counts"], {"total": 1000, "completed": 999, "failed": 1})
        (letter,) = self.letters()
        self.assertEqual(self.letters(f"?batch_id={job}&status=dead"), [letter])
        (row,) = map(json.loads, fleet.content(batch["error_file_id"]).splitlines())
        self.assertEqual((row["row"], row["error"]["code"]), (617, "crashed"))
        self.assertIn(letter["id"], row["error"]["message"])
        self.assertEqual((letter["batch_id"], letter["row"], letter["model"], letter["model_version"]),
                         (job, 617, "acosh", "1"))
        self.assertIn("signal 6", letter["cause"])
        self.assertEqual(letter["inputs"], [{"name": "x", "datatype": "FP32", "shape": [1, 4]}])
        self.assertEqual((letter["attempts"], letter["retries"], letter["retried_at"]), (2, 0, None))
        numpy.testing.assert_array_equal(self.kept(letter["id"])["x"], data[617:618])
        again = self.retry(letter["id"])
        self.assertEqual(again.status, 500, again.body)
        self.assertIn(letter["id"], again.json()["error"]["message"])
        after = self.letter(letter["id"])
        self.assertEqual((after["attempts"], after["retries"]), (4, 1))
        self.assertEqual(len(self.letters()), 1, "a retry makes no letter of its own")
        fleet.gateway.kill()
        fleet.start_gateway()
        self.assertEqual(self.letter(letter["id"]), after)
        numpy.testing.assert_array_equal(self.kept(letter["id"])["x"], data[617:618])
        self.mend()
        fleet.wait_model("acosh")
        answer = self.retry(letter["id"])
        numpy.testing.assert_allclose(oip.outputs(answer)["y"], numpy.arccosh(data[617:618]), rtol=1e-5)
        (after,) = self.letters(f"?batch_id={job}")
        self.assertEqual((after["status"], after["retries"], after["answer_bytes"]),
                         ("answered", 1, len(answer.body)))
        self.assertIsNotNone(after["answered_at"])
        self.assertEqual(self.letters("?status=dead"), [])
        fleet.gateway.kill()
        fleet.start_gateway()
        self.assertEqual(self.letter(letter["id"]), after)
        tasks = self.metric("infer_requests_total")
        for again in (self.retry(letter["id"]), fleet.ask("GET", f"/v1/dead/{letter['id']}/answer")):
            self.assertEqual((again.status, again.body), (200, answer.body))
            numpy.testing.assert_array_equal(oip.outputs(again)["y"], oip.outputs(answer)["y"])
        self.assertEqual(self.metric("infer_requests_total"), tasks, "nothing is computed twice")
        numpy.testing.assert_array_equal(self.kept(letter["id"])["x"], data[617:618])
        self.assertEqual(fleet.ask("DELETE", f"/v1/dead/{letter['id']}").status, 200)
        for path in ("", "/answer"):
            self.assertEqual(fleet.ask("GET", f"/v1/dead/{letter['id']}{path}").status, 404)
        self.assertEqual(self.retry(letter["id"]).status, 404)
        until("its files to go", lambda: self.files() == [])

    def test_rows_that_are_tasks_of_their_own_have_letters_with_the_clients_names(self):
        fleet = self.begin(model=traps.model(rows=1))
        data = poison(20, [3, 11]).reshape(20, 1, traps.WIDTH)
        lines = "".join(json.dumps({"custom_id": f"row {i}", "body": {"inputs": [oip.tensor("x", row)]}}) + "\n"
                        for i, row in enumerate(data))
        batch = fleet.wait_batch(fleet.score(fleet.upload_bytes(lines.encode(), "x.jsonl"), "acosh", "jsonl"))
        self.assertEqual(batch["request_counts"], {"total": 20, "completed": 18, "failed": 2})
        found = {letter["row"]: letter for letter in self.letters()}
        self.assertEqual({row: letter["custom_id"] for row, letter in found.items()}, {3: "row 3", 11: "row 11"})
        for row, letter in found.items():
            numpy.testing.assert_array_equal(self.kept(letter["id"])["x"], data[row])
        self.assertEqual(self.metric("dead_letters_total"), 2)
        self.assertEqual(self.metric("dead_letters"), 2)

    def test_of_a_request_of_many_the_row_is_kept_and_another_version_of_the_model_answers_it(self):
        fleet = self.begin()
        data = poison(300, 123, traps.FAULT)
        letter_id = self.kill(data)
        letter = self.letter(letter_id)
        self.assertEqual((letter["row"], letter["batch_id"]), (123, None))
        self.assertIn("signal 11", letter["cause"])
        self.assertIsNotNone(letter["request_id"])
        numpy.testing.assert_array_equal(self.kept(letter_id)["x"], data[123:124])
        self.assertEqual(self.retry(letter_id, "?version=7").status, 404)
        fleet.add_model_bytes("acosh", onnx_model(
            [node("Abs", ["x"], ["y"])], [value("x", "FP32", ["n", traps.WIDTH])],
            [value("y", "FP32", ["n", traps.WIDTH])]), version="2")
        fleet.post("/v2/repository/models/acosh/load")
        with tempfile.TemporaryDirectory() as folder:
            self.convoy("retry", letter_id, "--model-version", 2, "-o", f"{folder}/out.npy")
            numpy.testing.assert_array_equal(numpy.load(f"{folder}/out.npy"), data[123:124])
            self.convoy("retry", letter_id, "-o", f"{folder}/again.npy")
            numpy.testing.assert_array_equal(numpy.load(f"{folder}/again.npy"), data[123:124])
        self.assertEqual([e["status"] for e in self.letters()], ["answered"])

    def test_the_command_lists_shows_saves_and_drops_them(self):
        self.begin()
        data = [poison(1, 0), poison(1, 0, traps.FAULT), poison(5, 2)]
        ids = [self.kill(rows) for rows in data]
        listed = self.convoy("list").stdout
        self.assertEqual([line.split()[0] for line in listed.splitlines()[1:]], [i[-8:] for i in reversed(ids)])
        self.assertIn("killed by signal 11", listed)
        self.assertTrue(all(len(line) <= 80 for line in listed.splitlines()), listed)
        self.assertEqual([e["id"] for e in json.loads(self.convoy("list", "--json").stdout)["data"]], ids[::-1])
        with tempfile.TemporaryDirectory() as folder:
            shown = self.convoy("show", ids[2][-8:], "-o", f"{folder}/in.npy").stdout
            self.assertIn("x FP32 [1,4]", shown)
            self.assertIn("row 2 of the request", shown)
            numpy.testing.assert_array_equal(numpy.load(f"{folder}/in.npy"), data[2][2:3])
            self.convoy("show", ids[0], "-o", f"{folder}/body")
            with open(f"{folder}/body", "rb") as file:
                self.assertTrue(file.read().endswith(data[0].tobytes()))
        self.assertEqual(json.loads(self.convoy("show", ids[0], "--json").stdout)["id"], ids[0])
        self.assertIn("signal 11", self.convoy("retry", ids[1], code=5).stderr)
        self.convoy("drop", ids[1][-8:])
        self.assertEqual([e["id"] for e in self.letters()], [ids[2], ids[0]])
        page = self.fleet.get("/v1/dead?limit=1")
        self.assertEqual(([e["id"] for e in page["data"]], page["has_more"]), ([ids[2]], True))
        page = self.fleet.get(f"/v1/dead?limit=1&after={page['last_id']}")
        self.assertEqual(([e["id"] for e in page["data"]], page["has_more"]), ([ids[0]], False))
        self.mend()
        self.fleet.wait_model("acosh")
        answered = self.convoy("retry", "--all").stdout
        self.assertEqual(answered.count("y FP32 [1,4]"), 2, answered)
        self.assertEqual(self.convoy("retry", "--all").stdout, "", "there is none without an answer")
        self.assertEqual(self.convoy("list").stdout.count("answered"), 2)
        self.assertIn("gives the answer again", self.convoy("show", ids[0]).stdout)
        for query in ("?status=alive", "?batch_id=dead-1"):
            self.assertEqual(self.fleet.ask("GET", f"/v1/dead{query}").status, 400)
        self.convoy("drop", "--all")
        self.assertIn("no dead letters", self.convoy("list").stdout)
        self.assertIn("there is no dead letter", self.convoy("show", ids[0], code=5).stderr)
        for wrong in (("nonsense",), ("show",), ("drop",), ("drop", "x", "--all"), ("list", "x"), ("show", "--all")):
            self.convoy(*wrong, code=2)

    def test_they_are_bounded_and_the_oldest_goes(self):
        fleet = self.begin("--dead-max", "2")
        ids = [self.kill(poison(1, 0)) for _ in range(3)]
        self.assertEqual([e["id"] for e in self.letters()], [ids[2], ids[1]])
        self.assertEqual(self.metric("dead_letters_evicted_total"), 1)
        until("its file to go", lambda: self.files() == sorted(i.removeprefix("dead-") for i in ids[1:]))
        fleet.gateway.kill()
        fleet.start_gateway("--dead-max", "1")
        until("the older one to go", lambda: [e["id"] for e in self.letters()] == [ids[2]])

    def test_an_input_that_is_too_large_is_not_kept_and_the_letter_says_so(self):
        width = 20000
        self.begin("--dead-bytes-max", "64KiB", model=traps.model(width=width))
        letter_id = self.kill(poison(1, 0, width=width))
        letter = self.letter(letter_id)
        self.assertEqual((letter["input_kept"], letter["input_bytes"]), (False, 0))
        self.assertIn("dead letters may have 65536 together", letter["input_note"])
        for path in (f"/v1/dead/{letter_id}/input", f"/v1/dead/{letter_id}/retry"):
            answer = self.fleet.ask("GET" if path.endswith("input") else "POST", path)
            self.assertEqual(answer.status, 404, answer.body)
            self.assertIn("was not kept", answer.json()["error"]["message"])
        self.assertEqual(self.files(), [])

    def test_every_dead_row_has_one_letter_however_often_the_gateway_is_killed(self):
        fleet = self.begin(model=traps.model(rows=1))
        dead = [5, 20, 35, 50]
        data = poison(60, dead).reshape(60, 1, traps.WIDTH)
        job = fleet.score(fleet.upload_bytes(npy_bytes("<f4", data.shape, data.tobytes()), "x.npy"), "acosh",
                          chunk_rows=6)
        for count in (1, 3):  # while files are there whose records may not be
            until("another file", lambda: len(self.files()) >= count)
            fleet.gateway.kill()
            fleet.start_gateway()
        batch = fleet.wait_batch(job)
        self.assertEqual(batch["request_counts"], {"total": 60, "completed": 56, "failed": 4})
        letters = self.letters()
        self.assertEqual(sorted(letter["row"] for letter in letters), dead)
        for letter in letters:
            numpy.testing.assert_array_equal(self.kept(letter["id"])["x"], data[letter["row"]])
        self.assertEqual(self.files(), sorted(letter["id"].removeprefix("dead-") for letter in letters))

    def test_a_full_disk_costs_the_input_and_neither_the_letter_nor_the_answer(self):
        width = 20000
        fleet = self.begin(model=traps.model(width=width))
        fleet.gateway.kill()
        small = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                 'mount -t tmpfs -o size=64k tmpfs "$0" && exec "$@"', fleet.folder / "gateway/dead"]
        if subprocess.run([*small, "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("no file system can be mounted here")
        fleet.gateway = fleet.start("gateway", [
            *small, BIN / "convoy-gateway", "--brokers", fleet.control, "--http", fleet.http,
            "--data", fleet.folder / "gateway"])
        fleet.gateway.endpoints()
        fleet.wait_model("acosh")
        data = poison(3, 1, width=width)
        job = fleet.score(fleet.upload_bytes(npy_bytes("<f4", data.shape, data.tobytes()), "x.npy"), "acosh")
        self.assertEqual(fleet.wait_batch(job)["request_counts"], {"total": 3, "completed": 2, "failed": 1})
        letter_id = self.kill(data)
        for letter in (self.letter(letter_id), *self.letters()):
            self.assertFalse(letter["input_kept"])
            self.assertIn("No space left", letter["input_note"])
        self.assertEqual(len(self.letters()), 2)

    def test_files_without_a_record_are_removed_and_lost_or_altered_ones_are_told_of(self):
        fleet = self.begin()
        ids = [self.kill(poison(1, 0)) for _ in range(2)]
        fleet.gateway.kill()
        folder = fleet.folder / "gateway/dead"
        self.assertEqual({path.stat().st_mode & 0o777 for path in folder.iterdir()}, {0o600})
        (folder / str(uuid.uuid4())).write_text("cut off before its record")
        (folder / f"{ids[0].removeprefix('dead-')}.part-0123456789abcdef").write_text("cut off")
        (folder / ids[0].removeprefix("dead-")).unlink()
        altered = folder / ids[1].removeprefix("dead-")
        altered.write_bytes(altered.read_bytes()[:-1] + b"\xff")
        fleet.start_gateway()
        self.assertEqual(self.files(), [altered.name])
        self.assertIn("removed or cut short", self.letter(ids[0])["input_note"])
        answer = fleet.ask("GET", f"/v1/dead/{ids[1]}/input")
        self.assertEqual(answer.status, 500)
        self.assertIn("altered", answer.json()["error"]["message"])

    def test_one_at_a_time_tries_a_letter_again(self):
        fleet = self.begin()
        letter_id = self.kill(poison(1, 0))
        self.mend()
        fleet.wait_model("acosh")
        self.worker.child.send_signal(signal.SIGSTOP)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            first = pool.submit(self.retry, letter_id)
            until("the first to be under way", lambda: self.metric("online_input_bytes") > 0)
            second = self.retry(letter_id)
            self.assertEqual(second.status, 409, second.body)
            self.assertIn("tried again already", second.json()["error"]["message"])
            self.worker.child.send_signal(signal.SIGCONT)
            self.assertEqual(first.result().status, 200)
        self.assertEqual(self.retry(letter_id).body, first.result().body)

    def test_an_answer_that_cannot_be_kept_is_sent_and_the_letter_stays(self):
        width = 10000  # of 64 KiB the input takes 40, the answer would take as much
        fleet = self.begin("--dead-bytes-max", "64KiB", model=traps.model(width=width))
        data = poison(1, 0, width=width)
        letter_id = self.kill(data)
        self.mend()
        fleet.wait_model("acosh")
        answer = self.retry(letter_id)
        numpy.testing.assert_allclose(oip.outputs(answer)["y"], numpy.arccosh(data), rtol=1e-5)
        self.assertEqual((self.letter(letter_id)["status"], self.letter(letter_id)["answer_bytes"]), ("dead", 0))
        self.assertEqual(fleet.ask("GET", f"/v1/dead/{letter_id}/answer").status, 404)

    def test_each_tenant_has_its_own(self):
        fleet = self.begin("--http-keys")
        admin = fleet.key
        keys = {name: fleet.post("/v1/keys", {"name": name, "tenant": tenant, "scopes": scopes})["key"]
                for name, tenant, scopes in (("ann", "acme", ["infer"]), ("art", "acme", ["batch"]),
                                             ("max", "acme", ["models"]), ("zoe", "zeta", ["infer", "batch"]))}
        fleet.key = keys["ann"]
        letter_id = self.kill(poison(1, 0))
        for name in ("ann", "art", "admin"):
            fleet.key = keys.get(name, admin)
            self.assertEqual([e["id"] for e in self.letters()], [letter_id])
            self.assertEqual(self.letter(letter_id)["tenant"], "acme")
        fleet.key = keys["zoe"]
        self.assertEqual(self.letters(), [])
        for which in (letter_id, letter_id[-8:]):
            for method, path in (("GET", ""), ("GET", "/input"), ("POST", "/retry"), ("DELETE", "")):
                self.assertEqual(fleet.ask(method, f"/v1/dead/{which}{path}").status, 404)
        fleet.key = keys["max"]
        self.assertEqual(fleet.ask("GET", "/v1/dead").status, 403)
        fleet.key = keys["art"]
        self.assertEqual(fleet.ask("DELETE", f"/v1/dead/{letter_id}").status, 200)
        self.assertEqual(self.letters(), [])


if __name__ == "__main__":
    unittest.main()
