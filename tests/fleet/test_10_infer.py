"""Online inference over HTTP: JSON, binary, mixed and raw requests, versions, dynamic batches."""
import concurrent.futures
import gzip
import json
import unittest
import zlib

import numpy

import oip
from harness import DATA, Fleet
from onnx_bytes import column_softmax, echo, slow, sum_and_difference, times

SEED = 20


class Infer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet())
        cls.fleet.add_model_bytes("echo", echo())
        cls.fleet.add_model_bytes("both", sum_and_difference())
        cls.fleet.add_model_bytes("columns", column_softmax())
        cls.fleet.add_model_bytes("scale", times(2))
        cls.fleet.add_model_bytes("scale", times(3), version="3")
        cls.fleet.start_all()
        for model in ("fashion_cnn", "echo", "both", "columns", "scale"):
            cls.fleet.wait_model(model)
        cls.images = numpy.load(DATA / "fashion_cnn/input.npy")
        cls.scores = numpy.load(DATA / "fashion_cnn/output.npy")

    def test_nested_and_flat_json_give_the_same_answer(self):
        nested = oip.infer(self.fleet, "fashion_cnn", {"images": self.images})["probabilities"]
        flat = oip.infer(self.fleet, "fashion_cnn", {"images": self.images},
                         flat=True)["probabilities"]
        numpy.testing.assert_allclose(nested, self.scores, rtol=1e-4, atol=1e-5)
        self.assertEqual(nested.tobytes(), flat.tobytes())

    def test_json_binary_and_mixed_requests_give_the_same_bytes(self):
        rng = numpy.random.default_rng(SEED)
        a, b = rng.standard_normal((2, 5, 3), numpy.float32)
        print("seed", SEED)
        for binary in ((), ("a",), ("b",), ("a", "b")):
            for wanted in (False, True):
                with self.subTest(binary=binary, binary_output=wanted):
                    got = oip.infer(self.fleet, "both", {"a": a, "b": b}, binary,
                                    parameters={"binary_data_output": wanted})
                    self.assertEqual(got["sum"].tobytes(), (a + b).tobytes())
                    self.assertEqual(got["difference"].tobytes(), (a - b).tobytes())

    def test_each_output_chooses_its_own_form(self):
        a, b = numpy.ones((2, 1, 3), numpy.float32)
        body, headers = oip.request({"a": a, "b": b}, outputs=[
            {"name": "difference", "parameters": {"binary_data": True}}, {"name": "sum"}])
        answer = self.fleet.ask("POST", "/v2/models/both/infer", body, headers)
        got = oip.outputs(answer)
        self.assertEqual(list(got), ["difference", "sum"])
        head = json.loads(answer.body[:int(answer.headers[oip.HEADER.lower()])])
        self.assertEqual(head["outputs"][0]["parameters"]["binary_data_size"], 12)
        self.assertEqual(head["outputs"][1]["data"], [2.0, 2.0, 2.0])

    def test_only_the_outputs_that_were_asked_for_come_back(self):
        a, b = numpy.ones((2, 1, 3), numpy.float32)
        self.assertEqual(list(oip.infer(self.fleet, "both", {"a": a, "b": b},
                                        outputs=[{"name": "sum"}])), ["sum"])

    def test_inputs_may_come_in_any_order(self):
        a, b = numpy.float32([[1, 2, 3]]), numpy.float32([[10, 20, 30]])
        got = oip.infer(self.fleet, "both", {"b": b, "a": a})
        numpy.testing.assert_array_equal(got["difference"], a - b)

    def test_a_raw_request_is_one_row_and_comes_back_binary(self):
        answer = self.fleet.ask("POST", "/v2/models/fashion_cnn/infer", self.images[3].tobytes(),
                                {oip.HEADER: "0"})
        got = oip.outputs(answer)["probabilities"]
        self.assertIn(oip.HEADER.lower(), answer.headers)
        self.assertEqual(got.shape, (1, 10))
        numpy.testing.assert_allclose(got[0], self.scores[3], rtol=1e-4, atol=1e-5)

    def test_compressed_requests_and_answers(self):
        plain, _ = oip.request({"images": self.images})
        for name, packed in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain))):
            with self.subTest(encoding=name):
                answer = self.fleet.ask("POST", "/v2/models/fashion_cnn/infer", packed,
                                        {"Content-Encoding": name})
                numpy.testing.assert_allclose(oip.outputs(answer)["probabilities"], self.scores,
                                              rtol=1e-4, atol=1e-5)

    def test_fp32_survives_json_bit_by_bit(self):
        rng = numpy.random.default_rng(SEED)
        bits = rng.integers(0, 1 << 32, 4096, numpy.uint32)
        x = bits.view(numpy.float32)
        tiny = numpy.finfo(numpy.float32).tiny
        x = numpy.append(x[numpy.isfinite(x) & (abs(x) >= tiny)][:3000], numpy.float32(
            [0.0, -0.0, tiny, -tiny, 3.4028235e38, 0.1, 1 / 3])).astype(numpy.float32)
        x = x[:len(x) // 4 * 4].reshape(-1, 4)
        print("seed", SEED)
        by_json = oip.infer(self.fleet, "echo", {"x": x})["y"]
        self.assertEqual(by_json.tobytes(), x.tobytes())

    def test_the_id_is_echoed_and_the_version_is_named(self):
        answer = self.fleet.post("/v2/models/scale/infer", {
            "id": "row \u00e4 1", "inputs": [oip.tensor("x", numpy.ones((1, 4), numpy.float32))]})
        self.assertEqual((answer["id"], answer["model_name"], answer["model_version"]),
                         ("row \u00e4 1", "scale", "3"))

    def test_versions_are_chosen_by_number_and_the_highest_is_the_default(self):
        x = numpy.ones((1, 4), numpy.float32)
        for path, factor in (("scale", 3), ("scale/versions/1", 2), ("scale/versions/3", 3)):
            with self.subTest(path=path):
                numpy.testing.assert_array_equal(oip.infer(self.fleet, path, {"x": x})["y"],
                                                 factor * x)
        self.assertEqual(self.fleet.get("/v2/models/scale")["versions"], ["1", "3"])

    def test_a_model_whose_rows_depend_on_each_other_runs_each_request_alone(self):
        rng = numpy.random.default_rng(SEED)
        asked = [rng.standard_normal((rows, 4), numpy.float32) for rows in (1, 2, 7) * 4]
        print("seed", SEED)

        def one(x):
            return oip.infer(self.fleet, "columns", {"x": x}, ("x",))["y"]
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            for x, y in zip(asked, pool.map(one, asked)):
                wanted = numpy.exp(x) / numpy.exp(x).sum(axis=0)
                numpy.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)

    def test_zero_rows_are_answered_or_refused_but_not_forgotten(self):
        body, headers = oip.request({"x": numpy.zeros((0, 4), numpy.float32)})
        answer = self.fleet.ask("POST", "/v2/models/echo/infer", body, headers)
        self.assertIn(answer.status, (200, 400), answer.body)

    def test_a_timeout_that_is_too_short_is_answered_504(self):
        self.fleet.add_model_bytes("slow", slow(400))
        self.fleet.post("/v2/repository/models/slow/load")
        body, headers = oip.request({"x": numpy.zeros((64, 512), numpy.float32)}, ("x",),
                                    parameters={"timeout": 20000})
        answer = self.fleet.ask("POST", "/v2/models/slow/infer", body, headers)
        self.assertEqual(answer.status, 504, answer.body)
        self.assertIn("error", answer.json())


class Batches(unittest.TestCase):
    def test_requests_at_the_same_time_share_batches_and_each_gets_its_own_answer(self):
        rng = numpy.random.default_rng(SEED)
        print("seed", SEED)
        with Fleet(()) as fleet:
            fleet.add_model_bytes("slow", slow(8))
            fleet.start_broker()
            fleet.start_gateway()
            worker = fleet.start_worker("--log-level", "debug")
            fleet.wait_model("slow")
            rows = rng.standard_normal((96, 512), numpy.float32)
            alone = oip.infer(fleet, "slow", {"x": rows}, ("x",),
                              parameters={"binary_data_output": True})["y"]

            def one(index):
                return oip.infer(fleet, "slow", {"x": rows[index:index + 1]}, ("x",),
                                 parameters={"binary_data_output": True})["y"][0]
            before = len(worker.events("batch"))
            with concurrent.futures.ThreadPoolExecutor(24) as pool:
                for index, y in enumerate(pool.map(one, range(len(rows)))):
                    self.assertEqual(y.tobytes(), alone[index].tobytes(), f"row {index}")
            sizes = [int(batch["tasks"]) for batch in worker.events("batch")[before:]]
            stats = fleet.get("/v2/models/slow/stats")["model_stats"][0]
        print("requests in each batch:", *sizes)
        self.assertEqual(sum(sizes), 96)
        self.assertGreater(max(sizes), 1, "no two requests were ever computed together")
        self.assertEqual(stats["inference_count"], 192)



if __name__ == "__main__":
    unittest.main()
