"""Tensors of texts (BYTES): through convoy-run as JSON files, and over HTTP in JSON and binary."""
import json
import pathlib
import subprocess
import tempfile
import unittest

import numpy

import oip
from harness import BIN, Fleet
from onnx_bytes import TYPES, node, onnx_model, value

TEXTS = [["ab", "", "Grüße"], ["x\"y", "日本", "a\u0000b"]]
MARKED = [[text + "!" for text in row] for row in TEXTS]
FIRST = [[text == "ab" for text in row] for row in TEXTS]


def mark():
    """marked = x + "!", first = (x == "ab"); [n, 3]."""
    return onnx_model([node("Constant", [], ["mark"], value_string="!"),
                       node("Constant", [], ["ab"], value_string="ab"),
                       node("StringConcat", ["x", "mark"], ["marked"]), node("Equal", ["x", "ab"], ["first"])],
                      [value("x", "BYTES", ["n", 3])],
                      [value("marked", "BYTES", ["n", 3]), value("first", "BOOL", ["n", 3])], opset=20)


def flat(rows):
    return [element for row in rows for element in row]


def octets(texts):
    """The wire's form: for each text its length and its UTF-8."""
    return b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in texts)


def request(size):
    entry = {"name": "x", "datatype": "BYTES", "shape": [2, 3], "parameters": {"binary_data_size": size}}
    return json.dumps({"inputs": [entry], "outputs": [{"name": "marked", "parameters": {"binary_data": True}}]}).encode()


def split():
    """parts and counts of x cut at commas; [n] -> [n, most], [n]."""
    return onnx_model([node("StringSplit", ["x"], ["parts", "counts"], delimiter=",")], [value("x", "BYTES", ["n"])],
                      [value("parts", "BYTES", ["n", "m"]), value("counts", "INT64", ["n"])], opset=20)


def numbers():
    """x as numbers, and those as texts again."""
    return onnx_model([node("Cast", ["x"], ["y"], to=TYPES["FP32"]), node("Cast", ["y"], ["z"], to=TYPES["BYTES"])],
                      [value("x", "BYTES", ["n"])], [value("y", "FP32", ["n"]), value("z", "BYTES", ["n"])])


def doubled(turns):
    """x + x, `turns` times over."""
    nodes = [node("StringConcat", [f"t{i}"] * 2, [f"t{i + 1}"]) for i in range(turns)]
    return onnx_model(nodes, [value("t0", "BYTES", [1])], [value(f"t{turns}", "BYTES", [1])], opset=20)


class Alone(unittest.TestCase):
    def run_model(self, model, name, texts):
        """convoy-run's outputs, or what it says when it refuses."""
        with tempfile.TemporaryDirectory() as temp:
            place = pathlib.Path(temp)
            (place / "model.onnx").write_bytes(model)
            (place / "in.json").write_text(json.dumps(texts))
            done = subprocess.run([BIN / "convoy-run", place / "model.onnx", "--output-dir", place / "out", "--input",
                                   f"{name}={place}/in.json"], capture_output=True, text=True)
            if done.returncode:
                return done.returncode, done.stderr
            files = [entry["file"] for entry in json.loads((place / "out/outputs.json").read_text())["outputs"]]
            return [json.loads((place / "out" / f).read_text()) if f.endswith(".json")
                    else numpy.load(place / "out" / f).tolist() for f in files]

    def test_texts_are_cut(self):
        self.assertEqual([[["a", "b", ""], ["", "", ""], ["", "c", ""]], [3, 1, 3]],
                         self.run_model(split(), "x", ["a,b,", "", ",c,"]))

    def test_texts_and_numbers(self):
        self.assertEqual([[1.5, -3.0, float("inf")], ["1.5", "-3", "INF"]],
                         self.run_model(numbers(), "x", ["1.50", "-3", "inf"]))
        for text in ("", "3.5x", "0x10", " 1", "1\u0000", "9" * 1000):
            status, said = self.run_model(numbers(), "x", ["1", text])
            self.assertEqual(5, status, said)
            self.assertIn("is no number", said)

    def test_texts_that_grow_without_end_are_refused(self):
        status, said = self.run_model(doubled(60), "t0", ["0123456789abcdef"])
        self.assertEqual(5, status)
        self.assertIn("more than a run may", said)

    def test_who_takes_no_texts_says_so(self):
        model = onnx_model([node("Relu", ["x"], ["y"])], [value("x", "BYTES", [1])], [value("y", "BYTES", [1])])
        status, said = self.run_model(model, "x", ["a"])
        self.assertNotEqual(0, status)
        self.assertIn("input 0 is BYTES", said)

    def test_convoy_run_reads_and_writes_json(self):
        with tempfile.TemporaryDirectory() as temp:
            place = pathlib.Path(temp)
            (place / "model.onnx").write_bytes(mark())
            (place / "x.json").write_text(json.dumps(TEXTS))
            (place / "uneven.json").write_text('[["a", "b", "c"], ["d"]]')
            command = [BIN / "convoy-run", place / "model.onnx", "--output-dir", place / "out", "--input"]
            subprocess.run([*command, f"x={place}/x.json"], check=True, capture_output=True)
            self.assertEqual(MARKED, json.loads((place / "out/000.json").read_text()))
            uneven = subprocess.run([*command, f"x={place}/uneven.json"], capture_output=True, text=True)
            self.assertEqual(5, uneven.returncode)
            self.assertIn("arrays of the same length", uneven.stderr)


class Served(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet())
        cls.fleet.add_model_bytes("mark", mark())
        cls.fleet.start_all()
        cls.fleet.wait_model("mark")

    def ask(self, body, headers=None):
        return self.fleet.ask("POST", "/v2/models/mark/infer", body, headers or {})

    def test_json(self):
        for data in (TEXTS, flat(TEXTS)):
            entry = {"name": "x", "datatype": "BYTES", "shape": [2, 3], "data": data}
            answer = self.ask(json.dumps({"inputs": [entry]}).encode())
            self.assertEqual(200, answer.status, answer.body)
            marked, first = json.loads(answer.body)["outputs"]
            self.assertEqual(("BYTES", [2, 3], flat(MARKED)), (marked["datatype"], marked["shape"], marked["data"]))
            self.assertEqual(flat(FIRST), first["data"])

    def test_binary(self):
        data = octets(flat(TEXTS))
        head = request(len(data))
        answer = self.ask(head + data, {oip.HEADER: str(len(head))})
        self.assertEqual(200, answer.status, answer.body)
        size = int(answer.headers[oip.HEADER.lower()])
        self.assertEqual(octets(flat(MARKED)), answer.body[size:])

    def test_a_job_over_lines_of_texts(self):
        rows = [*TEXTS[:1], ["x\"y", "", "日本"], ["ab", "ab", "\\"]]
        lines = "".join(json.dumps({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 3], "data": row}]}) + "\n"
                        for row in rows)
        file = self.fleet.upload_bytes(lines.encode(), "texts.jsonl")
        batch = self.fleet.wait_batch(self.fleet.score(file, "mark", output_format="jsonl"))
        self.assertEqual("completed", batch["status"], batch)
        answers = [json.loads(line) for line in self.fleet.content(batch["output_file_id"]).splitlines()]
        self.assertEqual([[text + "!" for text in row] for row in rows],
                         [answer["response"]["body"]["outputs"][0]["data"] for answer in answers])

    def test_octets_that_do_not_add_up_are_refused(self):
        good = octets(flat(TEXTS))
        for data, said in ((good[:-1], "is cut off"), (good + b"\0", "are left behind"),
                           (b"\xff\xff\xff\xff" + good[4:], "is cut off"), (b"", "is cut off")):
            head = request(len(data))
            answer = self.ask(head + data, {oip.HEADER: str(len(head))})
            self.assertEqual(400, answer.status, answer.body)
            self.assertIn(said, answer.body.decode())

    def test_lists_that_do_not_fit_are_refused(self):
        for data in (["a"] * 5, ["a"] * 5 + [1], [["a"] * 3, ["b"] * 2 + [["c"]]]):
            entry = {"name": "x", "datatype": "BYTES", "shape": [2, 3], "data": data}
            answer = self.ask(json.dumps({"inputs": [entry]}).encode())
            self.assertEqual(400, answer.status, answer.body)


if __name__ == "__main__":
    unittest.main()
