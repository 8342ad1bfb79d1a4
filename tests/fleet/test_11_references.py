"""Models meet the outputs that onnxruntime computed: by HTTP in JSON and binary, and without a fleet."""
import io
import unittest

import numpy

import oip
from harness import DATA, Fleet, run_reference

MODELS = ("fashion_cnn", "rnn_plain", "lstm_bidirectional", "gru_lbr1", "embedding_gru")


class References(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(MODELS))
        cls.fleet.start_all()

    def check(self, model):
        self.fleet.wait_model(model)
        about = self.fleet.get(f"/v2/models/{model}")
        source = DATA / model / "input.npy"
        given, expected = numpy.load(source), numpy.load(DATA / model / "output.npy")
        entry, result = about["inputs"][0]["name"], about["outputs"][0]["name"]
        alone = numpy.load(io.BytesIO(run_reference(
            self.fleet.folder / model, DATA / f"{model}.onnx", {entry: source})[0]))
        by_json = oip.infer(self.fleet, model, {entry: given})[result]
        by_octets = oip.infer(self.fleet, model, {entry: given}, (entry,),
                              parameters={"binary_data_output": True})[result]
        for name, got in (("convoy-run", alone), ("JSON", by_json), ("binary", by_octets)):
            with self.subTest(way=name):
                self.assertEqual(got.shape, expected.shape)
                numpy.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
        self.assertEqual(by_json.tobytes(), alone.tobytes(), "the fleet and the engine differ")
        self.assertEqual(by_octets.tobytes(), alone.tobytes(), "the fleet and the engine differ")

    def test_rows_one_by_one_give_the_bytes_of_all_at_once(self):
        self.fleet.wait_model("lstm_bidirectional")
        given = numpy.load(DATA / "lstm_bidirectional/input.npy")

        def ask(rows):
            return oip.infer(self.fleet, "lstm_bidirectional", {"features": rows}, ("features",),
                             parameters={"binary_data_output": True})["log_probabilities"]
        whole = ask(given)  # the batch axis of this output is its second
        for row in range(len(given)):
            self.assertEqual(ask(given[row:row + 1])[:, 0].tobytes(), whole[:, row].tobytes())


def add(model):
    setattr(References, f"test_{model}_meets_its_reference", lambda self: self.check(model))


for each in MODELS:
    add(each)

if __name__ == "__main__":
    unittest.main()
