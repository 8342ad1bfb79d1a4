"""Models that cannot run: said why, by name, and nobody else is disturbed."""
import random
import unittest

import numpy

import oip
from harness import DATA, Fleet, until
from onnx_bytes import constant, echo, node, onnx_model, value

SEED = 61
FILES = "/v2/repository/models/{}/versions/1/files/model.onnx"


class BadModels(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(("rnn_plain",)))
        cls.fleet.add_model("half", DATA / "bad/half.onnx")
        cls.fleet.add_model("unsupported", DATA / "bad/unsupported.onnx")
        (cls.worker,) = cls.fleet.start_all()
        cls.fleet.wait_model("rnn_plain")

    def tearDown(self):
        """The worker lives, its runner never crashed, and the good model answers."""
        self.assertIsNone(self.worker.child.poll())
        self.assertEqual(self.worker.events("runner_crashed"), [])
        given = numpy.load(DATA / "rnn_plain/input.npy")
        got = oip.infer(self.fleet, "rnn_plain", {"features": given}, ("features",))
        numpy.testing.assert_allclose(got["probabilities"],
                                      numpy.load(DATA / "rnn_plain/output.npy"),
                                      rtol=1e-4, atol=1e-5)

    def entry(self, name):
        """The model's line of the index, once it was looked at."""
        def looked_at():
            listed = self.fleet.post("/v2/repository/index")
            found = [e for e in listed if e["name"] == name and e["state"] != "LOADING"]
            return found and found[0]
        return until(f"{name} to be looked at", looked_at)

    def add(self, name, model):
        answer = self.fleet.ask("PUT", FILES.format(name), model)
        self.assertEqual(answer.status, 201, answer.body)
        return self.fleet.ask("POST", f"/v2/repository/models/{name}/load")

    def test_operators_that_are_not_there_are_named_each(self):
        entry = self.entry("unsupported")
        self.assertEqual(entry["state"], "UNAVAILABLE")
        self.assertIn("Frobnicate", entry["reason"])
        self.assertIn("Unravel", entry["reason"])
        body, _ = oip.request({"x": numpy.ones((1, 4), numpy.float32)})
        answer = self.fleet.ask("POST", "/v2/models/unsupported/infer", body)
        self.assertEqual(answer.status, 422)
        self.assertIn("Frobnicate", answer.json()["error"])
        self.assertNotEqual(self.fleet.ask("GET", "/v2/models/unsupported/ready").status, 200)

    def test_a_file_cut_in_half_is_no_model(self):
        entry = self.entry("half")
        self.assertEqual(entry["state"], "UNAVAILABLE")
        self.assertTrue(entry["reason"])
        self.assertNotIn(str(self.fleet.folder), entry["reason"], "a worker's path is shown")

    def test_a_job_of_a_model_that_cannot_run_is_refused(self):
        self.entry("unsupported")
        file_id = self.fleet.upload_bytes(b"[1,2,3,4]\n")
        answer = self.fleet.ask("POST", "/v1/batches", {
            "input_file_id": file_id, "endpoint": "/v2/models/unsupported/infer",
            "completion_window": "24h"})
        self.assertEqual(answer.status, 422, answer.body)
        self.assertIn("Frobnicate", answer.json()["error"]["message"])

    def test_loading_a_bad_model_says_why_and_a_mended_one_is_loaded(self):
        answer = self.add("mended", (DATA / "bad/unsupported.onnx").read_bytes())
        self.assertEqual(answer.status, 422, answer.body)
        self.assertIn("Unravel", answer.json()["error"])
        answer = self.add("mended", echo())
        self.assertEqual(answer.status, 200, answer.body)
        x = numpy.ones((1, 4), numpy.float32)
        numpy.testing.assert_array_equal(oip.infer(self.fleet, "mended", {"x": x})["y"], x)

    def test_files_that_are_no_models_at_all(self):
        ends = [value("x", "FP32", ["n", 4]), value("y", "FP32", ["n", 4])]
        cycle = onnx_model([node("Add", ["x", "b"], ["a"]), node("Add", ["a", "a"], ["b"]),
                            node("Identity", ["b"], ["y"])], ends[:1], ends[1:])
        dangling = onnx_model([node("Identity", ["nowhere"], ["y"])], ends[:1], ends[1:])
        huge = onnx_model([node("Expand", ["x", "shape"], ["y"])], ends[:1],
                          [value("y", "FP32", [1 << 40, 4])],
                          [constant("shape", numpy.int64([1 << 40, 4]))])
        for index, model in enumerate((b"", b"no model", bytes(1000), b"\xff" * 1000, cycle,
                                       dangling)):
            with self.subTest(index=index):
                answer = self.add(f"none{index}", model)
                self.assertEqual(answer.status, 422, answer.body)
                self.assertEqual(self.entry(f"none{index}")["state"], "UNAVAILABLE")
        with self.subTest("2^42 elements"):
            if self.add("huge", huge).status == 200:
                body, _ = oip.request({"x": numpy.ones((1, 4), numpy.float32)})
                self.assertGreaterEqual(self.fleet.ask("POST", "/v2/models/huge/infer",
                                                       body).status, 400)

    def test_models_with_flipped_octets_are_loaded_or_refused_but_crash_nothing(self):
        rng = random.Random(SEED)
        print("seed", SEED)
        good = (DATA / "rnn_plain.onnx").read_bytes()
        for index in range(12):
            broken = bytearray(good)
            for _ in range(rng.randrange(1, 6)):
                broken[rng.randrange(min(len(good), 400))] = rng.randrange(256)
            with self.subTest(index=index):
                self.assertIn(self.add(f"flipped{index}", bytes(broken)).status, (200, 422))

    def test_names_and_versions_that_are_none_are_refused(self):
        for path in ("/v2/repository/models/.hidden/versions/1/files/model.onnx",
                     "/v2/repository/models/a%2f..%2fb/versions/1/files/model.onnx",
                     "/v2/repository/models/x/versions/0/files/model.onnx",
                     "/v2/repository/models/x/versions/01/files/model.onnx",
                     "/v2/repository/models/x/versions/1/files/..",
                     "/v2/repository/models/x/versions/1/files/.hidden",
                     "/v2/repository/models/" + "x" * 101 + "/versions/1/files/model.onnx"):
            with self.subTest(path=path):
                answer = self.fleet.ask("PUT", path, b"x")
                self.assertIn(answer.status, (400, 404), answer.body)
        self.assertEqual([], [p for p in self.fleet.folder.rglob("*hidden*")])

    def test_the_config_of_a_model_must_be_an_object(self):
        answer = self.fleet.ask("POST", "/v2/repository/models/rnn_plain/load",
                                {"parameters": {"config": "[1]"}})
        self.assertEqual(answer.status, 400, answer.body)


if __name__ == "__main__":
    unittest.main()
