"""tritonclient (HTTP), unmodified from its package, against a running gateway."""
import pathlib
import ssl
import sys
import unittest

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import DATA, Fleet, make_certificate  # noqa: E402

MODELS = ("fashion_cnn", "rnn_plain", "lstm_bidirectional", "gru_lbr1", "embedding_gru")


def case(model):
    """The input and the reference output of a model, as tests/data holds them."""
    return np.load(DATA / model / "input.npy"), np.load(DATA / model / "output.npy")


class TritonClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(MODELS))
        cls.fleet.start_all()
        for model in MODELS:
            cls.fleet.wait_model(model)
        cls.client = InferenceServerClient(cls.fleet.http)
        cls.addClassCleanup(cls.client.close)

    def infer(self, model, binary_input, binary_output):
        data, expected = case(model)
        about = self.client.get_model_metadata(model)
        tensor = InferInput(about["inputs"][0]["name"], data.shape, np_to_triton_dtype(data.dtype))
        tensor.set_data_from_numpy(data, binary_data=binary_input)
        output = about["outputs"][0]["name"]
        wanted = [InferRequestedOutput(output, binary_data=binary_output)]
        result = self.client.infer(model, [tensor], outputs=wanted, request_id="r-1")
        self.assertEqual(result.get_response()["id"], "r-1")
        got = result.as_numpy(output)
        self.assertEqual(got.shape, expected.shape)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)

    def test_server_is_live_and_ready(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())

    def test_server_metadata_has_name_version_and_extensions(self):
        about = self.client.get_server_metadata()
        self.assertTrue(about["name"] and about["version"])
        self.assertIn("binary_tensor_data", about["extensions"])

    def test_model_metadata_names_types_and_shapes(self):
        about = self.client.get_model_metadata("fashion_cnn")
        self.assertEqual(about["name"], "fashion_cnn")
        self.assertEqual(about["inputs"], [
            {"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}])
        self.assertEqual(about["outputs"], [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}])

    def test_unknown_model_is_not_ready(self):
        self.assertTrue(self.client.is_model_ready("fashion_cnn"))
        self.assertFalse(self.client.is_model_ready("nobody"))

    def test_repository_index_lists_the_models(self):
        listed = {entry["name"]: entry for entry in self.client.get_model_repository_index()}
        self.assertLessEqual(set(MODELS), set(listed))
        self.assertEqual(listed["fashion_cnn"]["state"], "READY")

    def test_infer_with_each_mix_of_json_and_binary(self):
        for model in MODELS:
            for binary_input in (False, True):
                for binary_output in (False, True):
                    with self.subTest(model=model, input=binary_input, output=binary_output):
                        self.infer(model, binary_input, binary_output)

    def test_many_requests_at_once_each_get_their_own_answer(self):
        data, expected = case("rnn_plain")
        with InferenceServerClient(self.fleet.http, concurrency=8) as client:
            waiting = []
            for row in range(64):
                tensor = InferInput("features", (1, *data.shape[1:]), "FP32")
                tensor.set_data_from_numpy(data[row % len(data)][None])
                waiting.append(client.async_infer("rnn_plain", [tensor]))
            for row, request in enumerate(waiting):
                np.testing.assert_allclose(request.get_result().as_numpy("probabilities")[0],
                                           expected[row % len(data)], rtol=1e-4, atol=1e-5)

    def test_wrong_shape_is_an_error_that_says_expected_and_got(self):
        tensor = InferInput("images", (1, 28, 27), "UINT8")
        tensor.set_data_from_numpy(np.zeros((1, 28, 27), np.uint8))
        with self.assertRaises(InferenceServerException) as caught:
            self.client.infer("fashion_cnn", [tensor])
        self.assertEqual(caught.exception.status(), "400")
        self.assertIn("28", caught.exception.message())
        self.assertIn("27", caught.exception.message())

    def test_unload_and_load_are_seen_in_readiness(self):
        self.client.unload_model("gru_lbr1")
        self.assertFalse(self.client.is_model_ready("gru_lbr1"))
        self.client.load_model("gru_lbr1")
        self.fleet.wait_model("gru_lbr1")
        self.infer("gru_lbr1", True, True)


class WithKeyAndTls(unittest.TestCase):
    """The same client where the gateway asks for a key, over HTTPS."""

    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(["rnn_plain"]))
        cert, key = make_certificate(cls.fleet.folder)
        cls.fleet.start_broker()
        cls.fleet.start_gateway("--http-keys", "--http-cert", cert, "--http-key", key)
        cls.fleet.tls = ssl.create_default_context(cafile=cert)
        cls.fleet.key = (cls.fleet.folder / "gateway/admin.key").read_text().strip()
        cls.fleet.start_worker()
        cls.fleet.wait_model("rnn_plain")
        made = cls.fleet.post("/v1/keys", {"name": "triton", "scopes": ["infer"]})
        cls.headers = {"Authorization": f"Bearer {made['key']}"}
        cls.client = InferenceServerClient(cls.fleet.http, ssl=True, ssl_options={"ca_certs": str(cert)},
                                           concurrency=4)
        cls.addClassCleanup(cls.client.close)

    def tensor(self):
        data, expected = case("rnn_plain")
        tensor = InferInput("features", data.shape, "FP32")
        tensor.set_data_from_numpy(data)
        return tensor, expected

    def test_requests_with_the_key_are_answered(self):
        tensor, expected = self.tensor()
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready("rnn_plain", headers=self.headers))
        waiting = [self.client.async_infer("rnn_plain", [tensor], headers=self.headers)
                   for _ in range(16)]
        for request in waiting:
            np.testing.assert_allclose(request.get_result().as_numpy("probabilities"), expected,
                                       rtol=1e-4, atol=1e-5)

    def test_without_a_key_or_the_scope_the_client_gets_the_status_and_the_reason(self):
        tensor, _ = self.tensor()
        for status, word, call in (
                ("401", "Authorization: Bearer", lambda: self.client.infer("rnn_plain", [tensor])),
                ("403", "this needs models", lambda: self.client.unload_model(
                    "rnn_plain", headers=self.headers))):
            with self.subTest(status=status), self.assertRaises(InferenceServerException) as caught:
                call()
            self.assertEqual(caught.exception.status(), status)
            self.assertIn(word, caught.exception.message())
