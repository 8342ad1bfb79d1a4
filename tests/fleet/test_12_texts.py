"""Tensors of texts (BYTES): through convoy-run as JSON files, and over HTTP in JSON and binary."""
import json
import pathlib
import subprocess
import tempfile
import unittest

import oip
from harness import BIN, Fleet
from onnx_bytes import node, onnx_model, value

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


class Alone(unittest.TestCase):
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
