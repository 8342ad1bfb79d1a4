"""Dataset jobs: every input and output format, bad rows, cancel, lists, idempotency."""
import gzip
import io
import json
import sqlite3
import struct
import unittest
import uuid

import numpy

from harness import DATA, Fleet, run_reference
from onnx_bytes import column_softmax, echo, slow, sum_and_difference

IDX_CODES = {"uint8": 8, "int8": 9, "int32": 12, "float32": 13}
RNN = numpy.load(DATA / "rnn_plain/input.npy")
RNN_ROWS = [row.tolist() for row in RNN]


def idx(array):
    """The format of MNIST: big-endian, 0 0 type rank, sizes, elements."""
    head = struct.pack(">BBBB", 0, 0, IDX_CODES[array.dtype.name], array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(
        array.dtype.newbyteorder(">")).tobytes()


def npy(array):
    file = io.BytesIO()
    numpy.save(file, array)
    return file.getvalue()


def lines(objects):
    return "".join(json.dumps(each) + "\n" for each in objects).encode()


class Jobs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(("fashion_cnn", "rnn_plain", "lstm_bidirectional")))
        cls.fleet.add_model_bytes("echo", echo())
        cls.fleet.add_model_bytes("both", sum_and_difference())
        cls.fleet.add_model_bytes("columns", column_softmax())
        cls.fleet.add_model_bytes("slow", slow(60))
        cls.fleet.start_all()
        for model in ("fashion_cnn", "rnn_plain", "lstm_bidirectional", "echo", "both", "columns",
                      "slow"):
            cls.fleet.wait_model(model)
        cls.images = numpy.load(DATA / "fashion_cnn/input.npy")
        cls.scores = numpy.load(DATA / "fashion_cnn/output.npy")

    def upload(self, data, name="data"):
        return self.fleet.upload_bytes(data, name)

    def run_job(self, data, model, **more):
        """Upload, score, wait; the batch object."""
        return self.fleet.wait_batch(self.fleet.score(self.upload(data), model, **more))

    def array(self, batch):
        self.assertEqual(batch["status"], "completed", batch)
        return numpy.load(io.BytesIO(self.fleet.content(batch["output_file_id"])))

    def answers(self, batch):
        self.assertEqual(batch["status"], "completed", batch)
        return [json.loads(line) for line in
                self.fleet.content(batch["output_file_id"]).splitlines()]

    def chunk_rows(self, batch):
        """Rows of each of the job's chunks, by the ledger."""
        ledger = next(self.fleet.folder.rglob("*.sqlite"))
        database = sqlite3.connect(ledger)
        try:
            listed = database.execute("SELECT rows FROM chunk WHERE batch = ? AND done = 1",
                                      (bytes.fromhex(batch["id"].rsplit("_", 1)[1].replace("-", "")),))
            return [rows for rows, in listed]
        finally:
            database.close()

    def errors(self, batch):
        return [json.loads(line) for line in
                self.fleet.content(batch["error_file_id"]).splitlines()]

    def counts(self, batch, total, failed=0):
        self.assertEqual(batch["request_counts"], {"total": total, "completed": total - failed,
                                                   "failed": failed})

    # --- input formats ----------------------------------------------------------------------------

    def test_npy_in_npy_out_is_what_the_engine_computes_alone(self):
        many = numpy.concatenate([self.images] * 40)
        source = self.fleet.folder / "images.npy"
        numpy.save(source, many)
        batch = self.run_job(source.read_bytes(), "fashion_cnn", chunk_rows=50)
        self.counts(batch, 320)
        expected = run_reference(self.fleet.folder, DATA / "fashion_cnn.onnx", {"images": source})
        self.assertEqual(self.array(batch).tobytes(),
                         numpy.load(io.BytesIO(expected[0])).tobytes())

    def test_cheap_rows_travel_in_crowds_and_a_short_job_still_has_many_chunks(self):
        rows = numpy.arange(1 << 18, dtype=numpy.float32).reshape(-1, 4)
        batch = self.run_job(npy(rows), "echo")
        self.assertEqual(self.array(batch).tobytes(), rows.tobytes())
        chunks = self.chunk_rows(batch)
        self.assertEqual(sum(chunks), len(rows))
        self.assertEqual(max(chunks), len(rows) // 64)
        self.assertLessEqual(max(self.chunk_rows(self.run_job(npy(rows[:4096]), "echo"))), 256)

    def test_idx_and_idx_gz(self):
        for data in (idx(self.images), gzip.compress(idx(self.images))):
            with self.subTest(packed=data[:2] == b"\x1f\x8b"):
                batch = self.run_job(data, "fashion_cnn")
                numpy.testing.assert_allclose(self.array(batch), self.scores, rtol=1e-4, atol=1e-5)

    def test_idx_of_floats_is_big_endian(self):
        x = numpy.float32([[1.5, -2, 3e-5, 4e7], [0.1, 0.2, 0.3, 0.4]])
        numpy.testing.assert_array_equal(self.array(self.run_job(idx(x), "echo")), x)

    def test_bare_json_lines(self):
        expected = numpy.load(DATA / "rnn_plain/output.npy")
        for objects in (RNN_ROWS, [{"data": row} for row in RNN_ROWS]):
            batch = self.run_job(lines(objects), "rnn_plain")
            numpy.testing.assert_allclose(self.array(batch), expected, rtol=1e-4, atol=1e-5)

    def test_json_lines_of_the_open_inference_protocol_with_two_inputs(self):
        objects = [{"inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 3], "data": [i, 2 * i, 3 * i]},
            {"name": "b", "datatype": "FP32", "shape": [3], "data": [1, 1, 1]}]} for i in range(5)]
        batch = self.run_job(lines(objects), "both", output_format="jsonl")
        for i, line in enumerate(self.answers(batch)):
            got = {o["name"]: o["data"] for o in line["response"]["body"]["outputs"]}
            self.assertEqual(got, {"sum": [i + 1, 2 * i + 1, 3 * i + 1],
                                   "difference": [i - 1, 2 * i - 1, 3 * i - 1]})

    def test_json_lines_as_openai_has_them_keep_their_custom_ids_and_order(self):
        url = "/v2/models/rnn_plain/infer"
        objects = [{"custom_id": f"id-{i}", "method": "POST", "url": url,
                    "body": {"inputs": [{"name": "features", "datatype": "FP32",
                                         "shape": [1, *RNN.shape[1:]], "data": [row]}]}}
                   for i, row in enumerate(RNN_ROWS * 20)]
        batch = self.run_job(lines(objects), "rnn_plain", output_format="jsonl", chunk_rows=7)
        self.counts(batch, len(objects))
        answers = self.answers(batch)
        self.assertEqual([a["custom_id"] for a in answers], [o["custom_id"] for o in objects])
        self.assertTrue(all(a["response"]["status_code"] == 200 and a["error"] is None
                            for a in answers))
        self.assertEqual(len({a["id"] for a in answers}), len(objects))

    def test_jsonl_output_has_the_same_numbers_as_npy(self):
        data = npy(RNN)
        array = self.array(self.run_job(data, "rnn_plain"))
        answers = self.answers(self.run_job(data, "rnn_plain", output_format="jsonl"))
        rows = [a["response"]["body"]["outputs"][0]["data"] for a in answers]
        self.assertEqual(numpy.float32(rows).reshape(array.shape).tobytes(), array.tobytes())

    def test_fp32_survives_json_lines_bit_by_bit(self):
        seed = 8
        print("seed", seed)
        x = numpy.random.default_rng(seed).integers(0, 1 << 32, 2000, numpy.uint32)
        x = x.view(numpy.float32)
        tiny = numpy.finfo(numpy.float32).tiny
        x = x[numpy.isfinite(x) & (abs(x) >= tiny)]
        x = numpy.append(numpy.float32([0.0, -0.0, tiny, 0.1]), x)[:1600].reshape(-1, 4)
        answers = self.answers(self.run_job(lines(x.tolist()), "echo", output_format="jsonl"))
        got = numpy.float32([a["response"]["body"]["outputs"][0]["data"] for a in answers])
        self.assertEqual(got.reshape(-1, 4).tobytes(), x.tobytes())

    def test_an_output_with_its_rows_on_the_second_axis_comes_out_row_by_row(self):
        given = numpy.load(DATA / "lstm_bidirectional/input.npy")
        expected = numpy.load(DATA / "lstm_bidirectional/output.npy")
        batch = self.run_job(npy(given), "lstm_bidirectional")
        got = self.array(batch)
        self.assertEqual(len(got), len(given))
        numpy.testing.assert_allclose(got.reshape(len(given), *numpy.delete(expected.shape, 1)),
                                      numpy.moveaxis(expected, 1, 0), rtol=1e-4, atol=1e-5)

    def test_the_output_of_a_model_with_two_is_chosen_by_name(self):
        objects = [{"inputs": [
            {"name": name, "datatype": "FP32", "shape": [1, 3], "data": [i, i, i]}
            for name in ("a", "b")]} for i in range(4)]
        batch = self.run_job(lines(objects), "both", output_name="sum")
        numpy.testing.assert_array_equal(self.array(batch)[:, 0], [0, 2, 4, 6])

    def test_a_model_that_is_not_batchable_runs_one_row_a_task(self):
        x = numpy.random.default_rng(9).standard_normal((30, 4), numpy.float32)
        print("seed 9")
        batch = self.run_job(npy(x), "columns", output_format="jsonl", chunk_rows=8)
        self.counts(batch, 30)
        for answer in self.answers(batch):
            # Softmax over a column of one element is 1; over several it would not be.
            self.assertEqual(answer["response"]["body"]["outputs"][0]["data"], [1, 1, 1, 1])

    # --- bad input --------------------------------------------------------------------------------

    def test_one_bad_row_ends_in_the_error_file_and_nowhere_else(self):
        good = (DATA / "bad/one_bad_row.jsonl").read_bytes()
        batch = self.run_job(good, "rnn_plain", output_format="jsonl")
        self.assertEqual(batch["status"], "completed")
        self.counts(batch, 6, failed=1)
        self.assertEqual([a["custom_id"] for a in self.answers(batch)],
                         ["0", "1", "2", "4", "5"])
        errors = self.errors(batch)
        self.assertEqual([e["row"] for e in errors], [3])
        self.assertIn("4", errors[0]["error"]["message"])
        self.assertIsNone(errors[0]["response"])

    def test_bad_rows_of_every_kind_are_told_apart(self):
        bad = {1: "{not json", 2: '"a text"', 3: "[[1,2],[3]]", 4: "[[[1,2,3,4],[1,2,3]]]",
               5: "{}", 6: '{"inputs":[{"name":"nobody","datatype":"FP32","shape":[1],"data":[1]}]}',
               7: "null", 8: "[1e999]", 9: '{"url":"/v2/models/other/infer","body":[]}'}
        rows = [json.dumps(RNN_ROWS[0]) if i not in bad else bad[i] for i in range(12)]
        batch = self.run_job("\n".join(rows).encode(), "rnn_plain", output_format="jsonl")
        self.counts(batch, 12, failed=len(bad))
        errors = self.errors(batch)
        self.assertEqual([e["row"] for e in errors], sorted(bad))
        self.assertTrue(all(e["error"]["message"] and e["error"]["code"] for e in errors))

    def test_a_truncated_npy_is_refused_with_expected_and_got(self):
        answer = self.fleet.ask("PUT", "/v1/files?name=t.npy",
                                (DATA / "bad/truncated.npy").read_bytes())
        self.assertEqual(answer.status, 400)
        message = answer.json()["error"]["message"]
        self.assertRegex(message, r"expected .*992 bytes, got 892")
        self.assertNotIn(str(self.fleet.folder), message)

    def test_a_damaged_gzip_is_refused(self):
        packed = bytearray(gzip.compress(idx(self.images)))
        for what, data in (("cut", bytes(packed[:-20])),
                           ("flipped", bytes(packed[:200] + b"\xff\xff" + packed[202:]))):
            with self.subTest(what=what):
                answer = self.fleet.ask("PUT", "/v1/files?name=t.idx.gz", data)
                self.assertEqual(answer.status, 400, answer.body)

    def test_a_data_set_of_the_wrong_shape_fails_with_expected_and_got(self):
        batch = self.run_job(npy(numpy.zeros((3, 28, 27), numpy.uint8)), "fashion_cnn")
        self.assertEqual(batch["status"], "failed")
        message = batch["errors"]["data"][0]["message"]
        self.assertIn("28", message)
        self.assertIn("27", message)

    def test_a_data_set_of_the_wrong_type_fails_with_expected_and_got(self):
        batch = self.run_job(npy(numpy.zeros((3, 28, 28), numpy.float32)), "fashion_cnn")
        self.assertEqual(batch["status"], "failed")
        message = batch["errors"]["data"][0]["message"]
        self.assertIn("UINT8", message)
        self.assertIn("FP32", message)

    def test_a_duplicate_custom_id_fails_the_batch_with_its_line(self):
        objects = [{"custom_id": each, "body": {"data": RNN_ROWS[0]}} for each in "abcb"]
        batch = self.run_job(lines(objects), "rnn_plain", output_format="jsonl")
        self.assertEqual(batch["status"], "failed")
        first = batch["errors"]["data"][0]
        self.assertEqual((first["code"], first["line"]), ("duplicate_custom_id", 4))

    def test_an_empty_file_fails_or_is_refused(self):
        for data in (b"", b"\n\n", npy(numpy.zeros((0, 28, 28), numpy.uint8))):
            with self.subTest(data=data[:20]):
                answer = self.fleet.ask("PUT", "/v1/files?name=empty", data)
                if answer.status == 200:
                    batch = self.fleet.wait_batch(self.fleet.score(answer.json()["id"]))
                    self.assertEqual(batch["status"], "failed")
                    self.assertEqual(batch["errors"]["data"][0]["code"], "empty_file")
                else:
                    self.assertEqual(answer.status, 400)

    def test_requests_that_cannot_be_are_refused_with_the_field(self):
        file_id = self.upload(npy(self.images))
        good = {"input_file_id": file_id, "endpoint": "/v2/models/fashion_cnn/infer",
                "completion_window": "24h"}
        for field, value, status in (
                ("input_file_id", "file-" + str(uuid.uuid4()), 400), ("input_file_id", 7, 400),
                ("endpoint", "/v1/chat/completions", 400),
                ("endpoint", "/v2/models/nobody/infer", 404),
                ("endpoint", "/v2/models/fashion_cnn/versions/9/infer", 404),
                ("completion_window", "soon", 400), ("output_format", "csv", 400),
                ("chunk_rows", 0, 400), ("chunk_rows", "many", 400), ("metadata", [1], 400)):
            with self.subTest(field=field, value=value):
                answer = self.fleet.ask("POST", "/v1/batches", {**good, field: value})
                self.assertEqual(answer.status, status, answer.body)
                error = answer.json()["error"]
                self.assertEqual(error["param"], field)
                self.assertTrue(error["message"] and error["type"])

    # --- life -------------------------------------------------------------------------------------

    def test_cancel_keeps_what_was_computed(self):
        rows = numpy.random.default_rng(3).standard_normal((1500, 512), numpy.float32)
        print("seed 3")
        job = self.fleet.score(self.upload(npy(rows)), "slow", "jsonl", chunk_rows=8)
        self.fleet.wait_rows(job, 8)
        self.assertIn(self.fleet.post(f"/v1/batches/{job}/cancel")["status"],
                      ("cancelling", "cancelled"))
        batch = self.fleet.wait_batch(job)
        self.assertEqual(batch["status"], "cancelled")
        done = batch["request_counts"]["completed"]
        self.assertTrue(8 <= done < 1500, done)
        kept = [json.loads(line) for line in
                self.fleet.content(batch["output_file_id"]).splitlines()]
        self.assertEqual([line["custom_id"] for line in kept], [str(i) for i in range(done)])
        self.assertEqual(self.fleet.ask("POST", f"/v1/batches/{job}/cancel").status, 409)

    def test_output_can_be_read_while_the_job_runs(self):
        rows = numpy.zeros((1500, 512), numpy.float32)
        job = self.fleet.score(self.upload(npy(rows)), "slow", "jsonl", chunk_rows=8)
        batch = self.fleet.wait_rows(job, 8)
        early = self.fleet.content(batch["output_file_id"]).splitlines()
        self.assertGreaterEqual(len(early), 8)
        self.assertTrue(all(json.loads(line)["response"] for line in early))
        self.fleet.post(f"/v1/batches/{job}/cancel")
        self.fleet.wait_batch(job)

    def test_the_same_idempotency_key_makes_one_job(self):
        file_id = self.upload(npy(self.images))
        body = {"input_file_id": file_id, "endpoint": "/v2/models/fashion_cnn/infer",
                "completion_window": "24h"}
        key = {"Idempotency-Key": str(uuid.uuid4())}
        first = self.fleet.post("/v1/batches", body, key)
        again = self.fleet.post("/v1/batches", body, key)
        self.assertEqual(first["id"], again["id"])
        same = {**body, "input_file_id": self.upload(npy(self.images))}  # the same octets once more
        self.assertEqual(self.fleet.post("/v1/batches", same, key)["id"], first["id"])
        for field, value in (("endpoint", "/v2/models/rnn_plain/infer"), ("chunk_rows", 3),
                             ("input_file_id", self.upload(npy(self.images[:2]))),
                             ("output_format", "npy"), ("metadata", {"a": "b"}),
                             ("completion_window", "1h")):
            answer = self.fleet.ask("POST", "/v1/batches", {**body, field: value}, key)
            self.assertEqual(answer.status, 409)
            self.assertIn(f"another {field}", answer.json()["error"]["message"])
        for bad in ("", "k" * 256):
            answer = self.fleet.ask("POST", "/v1/batches", body, {"Idempotency-Key": bad})
            self.assertEqual(answer.status, 400)
        self.fleet.wait_batch(first["id"])

    def test_jobs_are_listed_newest_first_page_by_page(self):
        file_id = self.upload(npy(self.images[:1]))
        made = [self.fleet.score(file_id) for _ in range(5)]
        for job in made:
            self.fleet.wait_batch(job)
        seen, after = [], ""
        while True:
            page = self.fleet.get(f"/v1/batches?limit=2{after}")
            self.assertLessEqual(len(page["data"]), 2)
            seen += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            after = f"&after={page['last_id']}"
        self.assertEqual([job for job in seen if job in made], made[::-1])
        self.assertEqual(len(seen), len(set(seen)))

    def test_metadata_comes_back(self):
        job = self.fleet.score(self.upload(npy(self.images)), metadata={"who": "me \u00fc"})
        self.assertEqual(self.fleet.wait_batch(job)["metadata"], {"who": "me \u00fc"})

    def test_events_stream_until_the_end(self):
        job = self.fleet.score(self.upload(npy(self.images)))
        body = self.fleet.ask("GET", f"/v1/batches/{job}/events").body.decode()
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
        self.assertEqual(events[-1]["status"], "completed")

    def test_files_are_listed_read_in_part_and_deleted(self):
        data = npy(self.images)
        file_id = self.upload(data, "some images.npy")
        about = self.fleet.get(f"/v1/files/{file_id}")
        self.assertEqual((about["filename"], about["bytes"], about["object"]),
                         ("some images.npy", len(data), "file"))
        self.assertEqual(self.fleet.content(file_id), data)
        part = self.fleet.ask("GET", f"/v1/files/{file_id}/content", headers={
            "Range": "bytes=10-19"})
        self.assertEqual((part.status, part.body), (206, data[10:20]))
        self.assertIn(file_id, [f["id"] for f in self.fleet.get("/v1/files")["data"]])
        self.assertTrue(self.fleet.ask("DELETE", f"/v1/files/{file_id}").json()["deleted"])
        self.assertEqual(self.fleet.ask("GET", f"/v1/files/{file_id}").status, 404)

    def test_a_form_upload_as_openai_sends_it(self):
        data = lines(RNN_ROWS)
        body = (b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
                b'--x\r\nContent-Disposition: form-data; name="file"; filename="r.jsonl"\r\n'
                b"Content-Type: application/octet-stream\r\n\r\n" + data + b"\r\n--x--\r\n")
        about = self.fleet.post("/v1/files", body, {
            "Content-Type": "multipart/form-data; boundary=x"})
        self.assertEqual((about["filename"], about["bytes"]), ("r.jsonl", len(data)))
        self.assertEqual(self.fleet.content(about["id"]), data)


if __name__ == "__main__":
    unittest.main()
