"""Training jobs with a worker in Python: what the gateway sends, commits, publishes and forgets."""
import concurrent.futures
import hashlib
import json
import os
import subprocess
import unittest
import uuid

from harness import BIN, DATA, Fleet, until
from wire_trainer import MODEL, Trainer

NETWORK = {"name": "toy", "layers": [{"type": "Dense", "units": 3, "input_shape": [4]}]}
SETTINGS = {"epochs": 1, "batch": 8, "optimizer": {"type": "adam"}}
JOBS = "/v1/training/jobs"
QUICK = ("--heartbeat-ms", "200", "--lease-ms", "3000")


class Training(unittest.TestCase):
    def setUp(self):
        self.fleet = self.enterContext(Fleet(()))
        self.fleet.start_broker(*QUICK)
        self.fleet.start_gateway()
        self.trainer = self.enterContext(Trainer(self.fleet.control))
        self.trainer.give_credit(1000)

    def upload(self, data, name):
        answer = self.fleet.ask("PUT", f"/v1/files?name={name}&purpose=train", data)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()["id"]

    def request(self, **more):
        return {"name": "toy", "network": NETWORK, "training": SETTINGS,
                "data": {"train": {"inputs": self.upload(b"the inputs", "x.csv"),
                                   "labels": self.upload(b"the labels", "y.npy")}}, **more}

    def ask(self, *arguments, **more):
        """An HTTP request while the trainer goes on; the gateway may wait for it."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.fleet.ask, *arguments, **more)
            while not answer.done():
                self.trainer.turn()
            return answer.result()

    def job(self, job_id):
        answer = self.ask("GET", f"{JOBS}/{job_id}")
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def wait(self, job_id, *states):
        states = states or ("completed", "failed", "cancelled")
        return until(f"{job_id} to be {states}", lambda: (
            (job := self.job(job_id))["status"] in states and job))

    def until(self, what, condition):
        return until(what, lambda: self.trainer.turn() or condition())

    def version(self, number=1, name="toy"):
        return self.fleet.folder / f"gateway/models/{name}/{number}"

    # --- a whole job ------------------------------------------------------------------------------

    def test_a_job_is_trained_in_segments_and_published_with_all_that_is_known_of_it(self):
        job = self.wait(self.fleet.post(JOBS, self.request())["id"])
        self.assertEqual((job["status"], job["model_version"], job["errors"]), ("completed", "1", None))
        (_, first), (_, second) = self.trainer.segments
        self.assertEqual(list(first), ["segment"])
        self.assertEqual(json.loads(first["segment"][0]), {"budget_ms": 5000})
        self.assertEqual(json.loads(second["checkpoint"].tobytes()), [0, 1, 4, 9])
        self.assertEqual(job["progress"]["step"], 8)
        self.assertEqual(job["metrics"]["validation_accuracy"], 0.5)
        self.assertEqual(job["convoy"]["segments"], 2)
        folder = self.version()
        self.assertEqual(sorted(file.name for file in folder.iterdir()),
                         ["curve.svg", "model.onnx", "training.json"])
        self.assertEqual((folder / "model.onnx").read_bytes(), MODEL)
        summary = json.loads((folder / "training.json").read_text())
        self.assertEqual(summary["job"], job["id"])
        self.assertEqual(summary["settings"], SETTINGS)
        self.assertEqual({entry["path"]: entry["sha256"] for entry in summary["data"]},
                         {"train/inputs.csv": hashlib.sha256(b"the inputs").hexdigest(),
                          "train/labels.npy": hashlib.sha256(b"the labels").hexdigest()})
        self.assertEqual(summary["metrics"], job["metrics"])
        config = self.ask("GET", "/v2/models/toy/versions/1/config").json()
        self.assertEqual(config["training"]["job"], job["id"])
        for path in ("/v2/models/toy/curve.svg", f"{JOBS}/{job['id']}/curve.svg"):
            answer = self.ask("GET", path)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "image/svg+xml"))
            self.assertIn(b"validation", answer.body)
        history = self.ask("GET", f"{JOBS}/{job['id']}/history").body.splitlines()
        self.assertEqual([json.loads(line)["step"] for line in history], [4, 8])
        left = self.fleet.folder / "gateway/training" / job["id"].removeprefix("train_")
        self.until("what nobody needs to be gone", lambda: sorted(
            file.name for file in left.iterdir()) == ["history.jsonl", "network.json", "program.json"])

    def test_the_worker_fetches_program_network_and_data_by_their_digests(self):
        self.trainer.hold = True
        self.fleet.post(JOBS, self.request())
        self.until("the first segment", lambda: self.trainer.held)
        (gateway, _), (fields, _, _) = next(iter(self.trainer.held.items()))
        self.assertEqual(fields["KIND"], 3)
        files, settings = self.trainer.program(gateway, fields["MODEL"])
        self.assertEqual(settings, SETTINGS)
        self.assertEqual(json.loads(files.pop("network.json")), NETWORK)
        self.assertEqual(files, {"train/inputs.csv": b"the inputs", "train/labels.npy": b"the labels"})

    def test_a_version_goes_on_learning(self):
        self.fleet.add_model("rnn_plain")
        self.ask("POST", "/v2/repository/models/rnn_plain/load")
        self.trainer.hold = True
        request = self.request(model="rnn_plain", name="rnn_plain")
        del request["network"]
        job = self.fleet.post(JOBS, request)
        self.until("the first segment", lambda: self.trainer.held)
        (gateway, _), (fields, _, _) = next(iter(self.trainer.held.items()))
        self.assertEqual(self.trainer.program(gateway, fields["MODEL"])[0]["model.onnx"], MODEL)
        self.trainer.hold = False
        self.assertEqual(self.wait(job["id"])["model_version"], "2")

    def test_progress_is_shown_before_it_is_committed(self):
        self.trainer.hold = True
        job = self.fleet.post(JOBS, self.request())["id"]
        self.until("the first segment", lambda: self.trainer.held)
        key = next(iter(self.trainer.held))
        self.trainer.start(key)
        self.trainer.tell(key, {"step": 2, "steps": 8, "epoch": 1, "epochs": 1, "rows": 64,
                                "loss": 0.5, "accuracy": 0.25, "rows_s": 100.0})
        self.until("what the worker told", lambda: self.job(job)["progress"]["step"] == 2)
        shown = self.job(job)["progress"]
        self.assertEqual((shown["loss"], shown["accuracy"], shown["eta_s"]), (0.5, 0.25, 0.5))
        self.assertEqual(self.job(job)["convoy"]["segments"], 0)

    def test_events_end_with_the_job(self):
        job = self.fleet.post(JOBS, self.request())["id"]
        answer = self.ask("GET", f"{JOBS}/{job}/events")
        events = [event.split(b"\n") for event in answer.body.strip().split(b"\n\n")]
        self.assertTrue(all(event[0] == b"event: training" for event in events))
        self.assertEqual(json.loads(events[-1][1].removeprefix(b"data: "))["status"], "completed")

    # --- the command line ---------------------------------------------------------------------------

    def convoy(self, *arguments, environment=None):
        """Run the command while the trainer goes on: (exit code, stdout, stderr)."""
        process = subprocess.Popen(
            [BIN / "convoy", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "CONVOY_GATEWAY": f"http://{self.fleet.http}"})
        self.until("the command to end", lambda: process.poll() is not None)
        out, err = process.communicate()
        return process.returncode, out, err

    def files(self):
        network, x, y = (self.fleet.folder / name for name in ("toy.json", "x.csv", "y.npy"))
        network.write_text(json.dumps(NETWORK))
        x.write_text("the inputs")
        y.write_text("the labels")
        return network, "--data", x, "--labels", y

    def test_convoy_train_tells_of_each_epoch_and_of_the_end(self):
        self.trainer.steps = 24  # three epochs
        code, out, err = self.convoy("train", *self.files(), "--epochs", 3, "--batch", 8, "--seed", 5,
                                     "--optimizer", "sgd", "--learning-rate", 0.5, "--freeze", "a",
                                     "--freeze", "b", "--no-shuffle")
        self.assertEqual(code, 0, err)
        self.assertRegex(out, r"^train_\S+ completed: toy/1 steps 24 loss 0.0417 accuracy 0.9583 "
                              r"validation loss 0.0833 accuracy 0.5000 redelivered 0\n$")
        for epoch in (1, 2, 3):
            self.assertIn(f"epoch {epoch}/3  loss {1 / (8 * epoch):.4f}", err)
        job = self.fleet.get(JOBS)["data"][0]
        self.assertEqual(job["training"], {
            "epochs": 3, "batch": 8, "seed": 5, "optimizer": {"type": "sgd", "learning_rate": 0.5},
            "frozen": ["a", "b"], "shuffle": False})
        code, out, _ = self.convoy("training", "list")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"train_\S+ +completed +100 % +0.0417 +0.9583 +toy/1")

    def test_convoy_train_ends_with_the_jobs_error_and_options_win_over_the_settings_file(self):
        settings = self.fleet.folder / "settings.json"
        settings.write_text('{"epochs": 9, "batch": 4, "optimizer": {"type": "adam", "epsilon": 1}}')
        self.trainer.failures = [("INVALID", "layer 5: nothing fits")] * 3
        code, out, err = self.convoy("train", *self.files(), "--epochs", 1, "--settings", settings,
                                     "--optimizer", "sgd", "--name", "other")
        self.assertEqual(code, 1, err)
        self.assertIn("layer 5: nothing fits", err)
        self.assertRegex(out, r"^train_\S+ failed: other steps 0")
        self.assertEqual(self.fleet.get(JOBS)["data"][0]["training"], {
            "epochs": 1, "batch": 4, "optimizer": {"type": "sgd", "epsilon": 1}})

    def test_convoy_train_detached_is_watched_and_cancelled_by_its_id(self):
        self.trainer.hold = True
        code, out, err = self.convoy("train", *self.files(), "--epochs", 1, "--detach")
        self.assertEqual(code, 0, err)
        job = out.strip()
        self.assertEqual(self.convoy("training", "cancel", job)[:2], (0, f"{job} cancelled\n"))
        code, out, _ = self.convoy("training", "watch", job)
        self.assertEqual(code, 1)
        self.assertIn("cancelled", out)
        self.assertEqual(json.loads(self.convoy("training", "show", job)[1])["status"], "cancelled")

    def test_wrong_arguments_of_convoy_train_are_named(self):
        network, _, x, *_ = self.files()
        for arguments, words in (
                ((network, "--epochs", 1), "--data FILE"), ((network, "--data", x), "--epochs N"),
                ((network, "--data", x, "--epochs", "many"), "expected a whole number"),
                ((network, "--data", x, "--epochs", 1, "--learning-rate", "x"), "expected a number")):
            code, _, err = self.convoy("train", *arguments)
            self.assertEqual(code, 2, err)
            self.assertIn(words, err)
        code, _, err = self.convoy("train", x.with_name("nobody.json"), "--data", x, "--epochs", 1)
        self.assertEqual(code, 5, err)
        self.assertIn("nobody.json", err)

    # --- restarts ---------------------------------------------------------------------------------

    def restart_gateway(self):
        self.fleet.gateway.kill()
        self.fleet.start_gateway()
        self.until("the gateway to be back with the broker", self.fleet.workers)

    def test_a_gateway_that_is_killed_takes_the_result_of_the_segment_that_was_under_way(self):
        self.trainer.hold = True
        job = self.fleet.post(JOBS, self.request())["id"]
        self.until("the first segment", lambda: self.trainer.held)
        self.restart_gateway()
        self.trainer.hold = False
        self.assertEqual(self.wait(job)["status"], "completed")
        self.assertEqual([step for step, _ in self.trainer.segments], [0, 4])

    def second_segment_and_then_nobody(self):
        """A job whose first segment is committed; gateway, broker and worker are gone."""
        self.trainer.hold = True
        job = self.fleet.post(JOBS, self.request())["id"]
        self.until("the first segment", lambda: self.trainer.held)
        self.trainer.hold = False
        self.until("its checkpoint", lambda: len(self.trainer.segments) == 1)
        self.trainer.hold = True
        self.until("the second segment", lambda: [
            1 for _, task, _ in self.trainer.held.values() if "done" not in task])
        self.fleet.gateway.kill()
        self.fleet.broker.kill()  # which has the task with its checkpoint
        self.trainer.close()
        return job

    def start_again(self):
        self.fleet.start_broker(*QUICK)
        self.fleet.start_gateway()
        self.trainer = self.enterContext(Trainer(self.fleet.control))
        self.trainer.give_credit(1000)

    def test_after_the_end_of_everybody_the_checkpoint_is_read_again(self):
        job = self.second_segment_and_then_nobody()
        self.start_again()
        self.assertEqual(self.wait(job)["status"], "completed")
        self.assertEqual([(step, len(inputs)) for step, inputs in self.trainer.segments], [(4, 2)])

    def test_a_checkpoint_that_was_altered_ends_the_job(self):
        job = self.second_segment_and_then_nobody()
        path = next((self.fleet.folder / "gateway/training").glob("*/checkpoint-4"))
        path.write_bytes(b"X" + path.read_bytes()[1:])
        self.start_again()
        ended = self.wait(job)
        self.assertEqual(ended["status"], "failed")
        self.assertIn("checkpoint-4 was altered", ended["errors"]["data"][0]["message"])

    def test_a_version_that_was_placed_before_the_gateway_died_is_not_published_twice(self):
        self.trainer.hold = True
        job = self.fleet.post(JOBS, self.request())["id"]
        self.until("the first segment", lambda: self.trainer.held)
        self.trainer.hold = False
        self.until("both segments", lambda: len(self.trainer.segments) == 2)
        self.trainer.hold = True  # nobody looks at the model: the job stays in finalizing
        self.until("the version", lambda: self.version().exists())
        self.restart_gateway()
        self.trainer.hold = False
        self.assertEqual(self.wait(job)["model_version"], "1")
        self.assertEqual([path.name for path in self.version().parent.iterdir()], ["1"])

    # --- failures ---------------------------------------------------------------------------------

    def test_the_programs_own_fault_ends_the_job_with_the_workers_words(self):
        for status in ("INVALID", "BAD_MODEL", "TOO_LARGE", "CRASHED"):
            with self.subTest(status=status):
                request = self.request()
                self.trainer.failures = [(status, "layer 5: expected 4 inputs, got 3")] * 3
                job = self.wait(self.fleet.post(JOBS, request)["id"])
                self.trainer.failures = []
                self.assertEqual(job["status"], "failed")
                self.assertEqual([(error["code"], error["message"]) for error in job["errors"]["data"]],
                                 [(status.lower(), "layer 5: expected 4 inputs, got 3")])
                upload = request["data"]["train"]["inputs"]
                self.assertEqual(self.fleet.ask("DELETE", f"/v1/files/{upload}").status, 200)
        self.assertFalse(self.version().exists())

    def test_a_workers_passing_trouble_is_tried_again(self):
        self.trainer.failures = [("IO", "the store's disk failed")]
        job = self.wait(self.fleet.post(JOBS, self.request())["id"])
        self.assertEqual(job["status"], "completed", job)

    def test_a_result_that_makes_no_sense_ends_the_job(self):
        self.trainer.train = lambda inputs: {"nothing": inputs["segment"]}
        job = self.wait(self.fleet.post(JOBS, self.request())["id"])
        self.assertEqual(job["errors"]["data"][0]["code"], "bad_result")

    def test_requests_that_cannot_be_are_refused_with_the_field(self):
        good = self.request()
        for field, value in (
                ("name", "../up"), ("name", None), ("network", None), ("network", 7),
                ("network", "file-" + str(uuid.uuid4())), ("model", "both"), ("training", [1]),
                ("training", {"loss": "x" * 65536}),
                ("data.train", {}), ("data.train", {"inputs": "file-" + str(uuid.uuid4())}),
                ("data.validation", {"inputs": 3})):
            body = json.loads(json.dumps(good))
            inner = body
            *parts, last = field.split(".")
            for part in parts:
                inner = inner[part]
            inner[last] = value
            with self.subTest(field=field, value=value):
                answer = self.fleet.ask("POST", JOBS, body)
                self.assertEqual(answer.status, 400, answer.body)
                self.assertEqual(answer.json()["error"]["param"],
                                 "network" if field == "model" else field)
        answer = self.fleet.ask("POST", JOBS, {**{k: v for k, v in good.items() if k != "network"},
                                               "model": "nobody"})
        self.assertEqual((answer.status, answer.json()["error"]["param"]), (404, "model"))

    # --- life -------------------------------------------------------------------------------------

    def test_cancelling_takes_the_segment_from_the_worker_and_publishes_nothing(self):
        self.trainer.hold = True
        request = self.request()
        job = self.fleet.post(JOBS, request)["id"]
        self.until("the first segment", lambda: self.trainer.held)
        upload = request["data"]["train"]["inputs"]
        self.assertEqual(self.fleet.ask("DELETE", f"/v1/files/{upload}").status, 409)
        self.assertEqual(self.fleet.post(f"{JOBS}/{job}/cancel")["status"], "cancelled")
        self.until("REVOKE", lambda: self.trainer.revoked)
        self.assertEqual(self.fleet.ask("POST", f"{JOBS}/{job}/cancel").status, 409)
        self.assertEqual(self.fleet.ask("DELETE", f"/v1/files/{upload}").status, 200)
        self.assertFalse(self.version().exists())

    def test_the_same_idempotency_key_makes_one_job(self):
        request, key = self.request(), {"Idempotency-Key": str(uuid.uuid4())}
        first = self.fleet.post(JOBS, request, key)
        again = {**self.request(), "name": "toy"}  # other uploads of the same octets
        self.assertEqual(self.fleet.post(JOBS, again, key)["id"], first["id"])
        self.restart_gateway()
        self.assertEqual(self.fleet.post(JOBS, request, key)["id"], first["id"])
        for field, value in (("name", "other"), ("training", {"epochs": 9}),
                             ("network", {"layers": []})):
            answer = self.fleet.ask("POST", JOBS, {**request, field: value}, key)
            self.assertEqual(answer.status, 409, field)
            self.assertIn(f"another {field}", answer.json()["error"]["message"])
        self.assertEqual(len(self.fleet.get(JOBS)["data"]), 1)

    def test_the_same_idempotency_key_is_the_same_job_when_its_data_has_been_deleted(self):
        request, key = self.request(), {"Idempotency-Key": str(uuid.uuid4())}
        first = self.wait(self.fleet.post(JOBS, request, key)["id"])
        for upload in request["data"]["train"].values():
            self.assertEqual(self.fleet.ask("DELETE", f"/v1/files/{upload}").status, 200)
        self.assertEqual(self.fleet.post(JOBS, request, key)["id"], first["id"])
        request["data"]["train"] = dict(zip(("labels", "inputs"), request["data"]["train"].values()))
        for headers in (key, {"Idempotency-Key": "another"}):
            answer = self.fleet.ask("POST", JOBS, request, headers)
            self.assertEqual(answer.status, 400)
            self.assertIn("there is no file", answer.json()["error"]["message"])

    def test_two_jobs_of_one_name_become_two_versions(self):
        jobs = [self.fleet.post(JOBS, self.request())["id"] for _ in range(2)]
        self.assertEqual(sorted(self.wait(job)["model_version"] for job in jobs), ["1", "2"])
        self.assertEqual([job["id"] for job in self.fleet.get(JOBS)["data"]], jobs[::-1])

    def test_a_number_that_somebody_else_took_is_left_alone(self):
        self.fleet.add_model("toy", DATA / "rnn_plain.onnx", version="7")
        job = self.wait(self.fleet.post(JOBS, self.request())["id"])
        self.assertEqual(job["model_version"], "8")


class Tenants(unittest.TestCase):
    def test_jobs_of_others_are_not_there_and_the_scope_is_asked_for(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            fleet.start_gateway("--http-keys")
            admin = fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
            keys = {name: fleet.post("/v1/keys", {"name": name, "tenant": name, "scopes": [scope]})[
                "key"] for name, scope in (("ann", "train"), ("zoe", "train"), ("bob", "batch"))}
            fleet.key = keys["ann"]
            upload = fleet.upload_bytes(b"1,2,3", "x.csv")  # of either scope
            body = {"name": "toy", "network": NETWORK, "training": SETTINGS,
                    "data": {"train": {"inputs": upload}}}
            job = fleet.post(JOBS, body)["id"]
            fleet.key = keys["zoe"]
            self.assertEqual(fleet.get(JOBS)["data"], [])
            for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/events"),
                                 ("GET", "/curve.svg"), ("GET", "/history")):
                self.assertEqual(fleet.ask(method, f"{JOBS}/{job}{path}").status, 404, path)
            self.assertEqual(fleet.ask("POST", JOBS, body).status, 400)  # ann's upload
            fleet.key = keys["bob"]
            self.assertEqual(fleet.ask("GET", JOBS).status, 403)
            fleet.key = admin
            self.assertEqual(fleet.get(f"{JOBS}/{job}")["id"], job)


if __name__ == "__main__":
    unittest.main()
