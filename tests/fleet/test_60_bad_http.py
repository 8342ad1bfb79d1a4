"""Bad requests over HTTP: each gets a clear error, and the gateway serves on."""
import json
import random
import socket
import unittest
import zlib

import numpy

import oip
from harness import DATA, PATIENCE_S, Fleet
from onnx_bytes import sum_and_difference

SEED = 60
INFER = "/v2/models/fashion_cnn/infer"
BODY_MAX = 1 << 20  # of the gateway under test


class Gateway(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet())
        cls.fleet.add_model_bytes("both", sum_and_difference())
        cls.fleet.start_broker()
        cls.fleet.start_gateway("--http-body-max", str(BODY_MAX), "--http-body-timeout-ms", "500",
                                "--http-idle-timeout-ms", "1000", "--upload-max",
                                str(2 * BODY_MAX))
        cls.fleet.start_worker()
        cls.fleet.wait_model("fashion_cnn")
        cls.fleet.wait_model("both")
        cls.images = numpy.load(DATA / "fashion_cnn/input.npy")

    def tearDown(self):
        """Whatever came, the gateway lives and answers."""
        self.assertIsNone(self.fleet.gateway.child.poll())
        got = oip.infer(self.fleet, "fashion_cnn", {"images": self.images[:1]}, ("images",))
        self.assertEqual(got["probabilities"].shape, (1, 10))

    def refused(self, status, *words, body, path=INFER, headers=None):
        """A request that gets this status and a sentence with these words; the sentence."""
        answer = self.fleet.ask("POST", path, body, headers)
        self.assertEqual(answer.status, status, answer.body[:500])
        sentence = answer.json()["error"]
        for word in words:
            self.assertIn(word, sentence)
        self.assertTrue(answer.headers["x-request-id"])
        return sentence

    def raw(self, octets, wait=True):
        """Send octets by TCP as they are; everything that comes back until the end."""
        host, port = self.fleet.http.rsplit(":", 1)
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            try:
                connection.sendall(octets)
                if not wait:
                    return b""
                connection.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: connection.recv(65536), b""))
            except OSError:
                return b""  # it hung up: its right

    # --- JSON -------------------------------------------------------------------------------------

    def test_malformed_json_says_where(self):
        for body in ("{", '{"inputs":[', '{"inputs":}', "[1,2", '{"inputs":[{"name":"images"', "\0",
                     '{"inputs": [], }', "nonsense", "[" * 100000, '{"a":' * 100000,
                     b'{"id":"\xff\xfe"}'):
            with self.subTest(body=body[:20]):
                self.refused(400, body=body)

    def test_an_empty_body_says_what_is_missing(self):
        self.refused(400, "JSON", body="")
        self.refused(400, "input", body="{}")

    def test_wrong_shapes_say_expected_and_got(self):
        for shape, elements in (([1, 28, 27], 756), ([1, 784], 784), ([28, 28], 784)):
            with self.subTest(shape=shape):
                data = numpy.zeros(elements, numpy.uint8).reshape(shape)
                body, _ = oip.request({"images": data})
                said = self.refused(400, "images", "28", body=body)
                self.assertIn(str(shape[-1]), said)

    def test_a_wrong_type_says_expected_and_got(self):
        body, _ = oip.request({"images": self.images.astype(numpy.float32)})
        self.refused(400, "UINT8", "FP32", body=body)

    def test_a_wrong_count_of_elements_says_expected_and_got(self):
        listed = {"name": "images", "datatype": "UINT8", "shape": [2, 28, 28], "data": [0] * 1567}
        self.refused(400, "1568", "1567", body={"inputs": [listed]})
        listed["data"] = [0] * 1569
        self.refused(400, "1568", body={"inputs": [listed]})

    def test_values_that_do_not_fit_are_named(self):
        for value in (256, -1, 1.5, "x", None, True, [0], 1e400):
            with self.subTest(value=value):
                data = [0] * 784
                data[5] = value
                text = json.dumps({"inputs": [{"name": "images", "datatype": "UINT8",
                                               "shape": [1, 28, 28], "data": data}]})
                self.refused(400, body=text)

    def test_shapes_beyond_reason_are_refused(self):
        for shape in ([1 << 62, 1 << 62], [-1, 28, 28], [1 << 40, 28, 28], [1.5, 28, 28], "x", None,
                      [1] * 100, [1 << 63, 28, 28]):
            with self.subTest(shape=shape):
                answer = self.fleet.ask("POST", INFER, {"inputs": [
                    {"name": "images", "datatype": "UINT8", "shape": shape, "data": []}]})
                self.assertIn(answer.status, (400, 413), answer.body)
                self.assertTrue(answer.json()["error"])

    def test_unknown_missing_and_doubled_inputs_are_named(self):
        one = oip.tensor("a", numpy.ones((1, 3), numpy.float32))
        two = oip.tensor("b", numpy.ones((1, 3), numpy.float32))
        path = "/v2/models/both/infer"
        self.refused(400, "b", path=path, body={"inputs": [one]})
        self.refused(400, "a", path=path, body={"inputs": [one, one, two]})
        self.refused(400, "nobody", path=path, body={"inputs": [one, {**two, "name": "nobody"}]})
        self.refused(400, "nobody", path=path, body={"inputs": [one, two],
                                                     "outputs": [{"name": "nobody"}]})

    def test_rows_that_differ_between_inputs_are_refused(self):
        body, _ = oip.request({"a": numpy.ones((2, 3), numpy.float32),
                               "b": numpy.ones((3, 3), numpy.float32)})
        self.refused(400, "2", "3", path="/v2/models/both/infer", body=body)

    # --- binary -----------------------------------------------------------------------------------

    def test_a_header_length_out_of_range_is_refused(self):
        body, _ = oip.request({"images": self.images[:1]}, ("images",))
        for length in ("-1", str(len(body) + 1), "99999999999999999999", "x", "1.5", "0x10", ""):
            with self.subTest(length=length):
                self.refused(400, body=body, headers={oip.HEADER: length})

    def test_binary_sizes_that_do_not_fit_say_expected_and_got(self):
        def request(size, tail):
            head = json.dumps({"inputs": [{"name": "images", "datatype": "UINT8",
                                           "shape": [1, 28, 28],
                                           "parameters": {"binary_data_size": size}}]}).encode()
            return {"body": head + bytes(tail), "headers": {oip.HEADER: str(len(head))}}
        self.refused(400, "784", "783", **request(783, 783))
        self.refused(400, "784", **request(784, 700))
        self.refused(400, **request(784, 800))
        self.refused(400, **request(-5, 784))
        self.refused(400, **request(1 << 62, 784))

    def test_a_raw_request_of_the_wrong_size_is_refused(self):
        self.refused(400, "784", body=bytes(783), headers={oip.HEADER: "0"})
        self.refused(400, "input", path="/v2/models/both/infer", body=bytes(12),
                     headers={oip.HEADER: "0"})

    def test_packed_bodies_that_are_broken_or_too_large_are_refused(self):
        self.refused(400, body=b"no gzip", headers={"Content-Encoding": "gzip"})
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = packer.compress(bytes(64 << 20)) + packer.flush()
        self.refused(413, body=bomb, headers={"Content-Encoding": "gzip"})

    # --- paths, methods, sizes --------------------------------------------------------------------

    def test_unknown_models_versions_and_paths_are_404(self):
        body, headers = oip.request({"images": self.images[:1]}, ("images",))
        self.refused(404, "unknown model", "nobody", path="/v2/models/nobody/infer", body=body,
                     headers=headers)
        self.refused(404, "7", path="/v2/models/fashion_cnn/versions/7/infer", body=body,
                     headers=headers)
        for path in ("/x", "/v3", "/v2/models/fashion_cnn/nothing", "/v2/models//infer",
                     "/v2/models/..%2f..%2fetc/infer", "/v2/models/%00/infer", "/v1/batches/7",
                     "/v1/files/file-7/content", "/" + "x" * 2000):
            with self.subTest(path=path[:40]):
                answer = self.fleet.ask("GET", path)
                self.assertIn(answer.status, (400, 404, 405), answer.body)
                self.assertIn("error", answer.json())

    def test_a_wrong_method_is_405_and_names_those_that_are(self):
        for method, path, allowed in (("GET", INFER, "POST"), ("POST", "/v2/health/live", "GET"),
                                      ("DELETE", "/v1/batches", "GET"), ("PUT", "/v2", "GET")):
            with self.subTest(path=path):
                answer = self.fleet.ask(method, path)
                self.assertEqual(answer.status, 405, answer.body)
                self.assertIn(allowed, answer.headers["allow"])

    def test_an_oversized_body_is_413_and_the_client_gets_to_read_it(self):
        for size in (BODY_MAX + 1, 20 * BODY_MAX):
            self.refused(413, str(BODY_MAX), body=bytes(size))

    def test_who_asks_first_is_told_413_before_the_body_is_sent(self):
        head = (f"POST {INFER} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                f"Content-Length: {20 * BODY_MAX}\r\n\r\n").encode()
        self.assertIn(b" 413 ", self.raw(head).split(b"\r\n")[0])

    def test_a_length_beyond_reason_is_413_at_once(self):
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
        self.assertIn(b" 413 ", self.raw(head).split(b"\r\n")[0])

    def test_an_oversized_chunked_body_is_413(self):
        piece = b"10000\r\n" + bytes(65536) + b"\r\n"
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        self.assertIn(b" 413 ", self.raw(head + piece * 20 + b"0\r\n\r\n").split(b"\r\n")[0])

    def test_an_oversized_upload_is_413(self):
        answer = self.fleet.ask("PUT", "/v1/files?name=big", bytes(3 * BODY_MAX))
        self.assertEqual(answer.status, 413, answer.body)

    # --- HTTP itself ------------------------------------------------------------------------------

    def test_what_could_smuggle_a_second_request_is_refused(self):
        hidden = b"GET /v2/hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        start = f"POST {INFER} HTTP/1.1\r\nHost: x\r\n".encode()
        for what, head in (
                ("both lengths", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                ("two lengths", b"Content-Length: 0\r\nContent-Length: 38\r\n\r\n"),
                ("a list of lengths", b"Content-Length: 0, 38\r\n\r\n"),
                ("a signed length", b"Content-Length: +0\r\n\r\n"),
                ("an unknown coding", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
                ("two codings", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
                                b"0\r\n\r\n"),
                ("a space before the colon", b"Content-Length : 38\r\n\r\n")):
            with self.subTest(what=what):
                answer = self.raw(start + head + hidden)
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer[:200])
                self.assertNotIn(b"hidden", answer, "it answered what was hidden")

    def test_a_body_that_comes_too_slowly_is_answered_408_or_closed(self):
        host, port = self.fleet.http.rsplit(":", 1)
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
                               .encode() + b"{")
            answer = connection.recv(65536)
        self.assertTrue(answer == b"" or b" 408 " in answer.split(b"\r\n")[0], answer[:200])

    def test_garbage_and_half_requests_on_the_http_port(self):
        rng = random.Random(SEED)
        print("seed", SEED)
        for octets in (rng.randbytes(4096), b"\r\n" * 1000, b"GET", b"GET / HTTP/9.9\r\n\r\n",
                       b"GET /v2 HTTP/1.1\r\n" + b"X: y\r\n" * 100000, b"\x16\x03\x01" + bytes(500),
                       b"GET /" + b"a" * 1000000, b"CVY1" + bytes(100), bytes(100000)):
            with self.subTest(octets=octets[:12]):
                answer = self.raw(octets)
                self.assertNotIn(b" 200 ", answer.split(b"\r\n")[0])

    def test_clients_that_leave_in_the_middle_leave_nothing_behind(self):
        body, _ = oip.request({"images": self.images})
        text = body.encode() if isinstance(body, str) else body
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(text)}\r\n\r\n".encode()
        for cut in (len(text) // 2, len(text)):
            for _ in range(20):
                self.raw(head + text[:cut], wait=False)

    def test_a_wrong_body_for_other_paths_is_refused(self):
        for path in ("/v1/batches", "/v2/repository/index", "/v2/repository/models/x/load"):
            with self.subTest(path=path):
                answer = self.fleet.ask("POST", path, "{nonsense")
                self.assertIn(answer.status, (400, 404), answer.body)
                self.assertIn("error", answer.json())
        answer = self.fleet.ask("POST", "/v1/files", "no form", {"Content-Type": "text/plain"})
        self.assertEqual(answer.status, 400, answer.body)


if __name__ == "__main__":
    unittest.main()
