"""HTTPS: what is answered, which addresses need it, and a certificate that is replaced under load."""
import http.client
import pathlib
import signal
import ssl
import subprocess
import os
import shutil
import threading
import unittest

import numpy

from harness import BIN, DATA, PATIENCE_S, Fleet, images, make_certificate, run_reference, until
import oip

MODEL = "fashion_cnn"
IMAGES = DATA / MODEL / "input.npy"


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet((MODEL,)))
        cls.cert, cls.key = make_certificate(cls.fleet.folder)
        cls.fleet.start_broker()
        cls.fleet.http = "0.0.0.0:0"  # off loopback: TLS and keys are a must
        cls.fleet.start_gateway("--http-cert", cls.cert, "--http-key", cls.key)
        cls.port = int(cls.fleet.http.rsplit(":", 1)[1])
        cls.fleet.http = f"localhost:{cls.port}"
        cls.fleet.tls = ssl.create_default_context(cafile=cls.cert)
        cls.fleet.key = (cls.fleet.folder / "gateway/admin.key").read_text().strip()
        cls.fleet.start_worker()
        cls.fleet.wait_workers(1)
        cls.fleet.wait_model(MODEL)

    def test_inference_json_and_binary_is_as_without_tls(self):
        data = numpy.load(IMAGES)
        expected = numpy.load(DATA / MODEL / "output.npy")
        for binary in ((), ("images",)):
            for out in (False, True):
                got = oip.infer(self.fleet, MODEL, {"images": data}, binary,
                                parameters={"binary_data_output": out})
                numpy.testing.assert_allclose(got["probabilities"], expected, rtol=1e-4, atol=1e-5)

    def test_a_job_with_its_upload_events_and_download_is_whole(self):
        source = self.fleet.folder / "rows.npy"
        source.write_bytes(images(3000))
        file_id = self.fleet.upload(source)
        batch = self.fleet.score(file_id, MODEL)
        events = self.fleet.ask("GET", f"/v1/batches/{batch}/events").body
        self.assertIn(b'"status":"completed"', events)
        done = self.fleet.wait_batch(batch)
        self.assertEqual(done["request_counts"], {"total": 3000, "completed": 3000, "failed": 0})
        reference = run_reference(self.fleet.folder, DATA / f"{MODEL}.onnx", {"images": source})[0]
        self.assertEqual(self.fleet.content(done["output_file_id"]), reference)

    def test_a_large_body_and_a_large_answer_come_through(self):
        data = numpy.frombuffer(images(20000)[128:], numpy.uint8)[:20000 * 784].reshape(-1, 28, 28)
        got = oip.infer(self.fleet, MODEL, {"images": data}, ("images",),
                        parameters={"binary_data_output": True})
        self.assertEqual(got["probabilities"].shape, (20000, 10))

    def test_the_command_works_over_https(self):
        environment = {**os.environ, "CONVOY_GATEWAY": f"https://localhost:{self.port}",
                       "CONVOY_API_KEY": self.fleet.key}
        output = self.fleet.folder / "cli.npy"
        run = lambda *a, **e: subprocess.run(  # noqa: E731
            [BIN / "convoy", *map(str, a)], capture_output=True, text=True, timeout=PATIENCE_S,
            env={**environment, **e})
        done = run("score", MODEL, IMAGES, "-o", output, "--ca", self.cert)
        self.assertEqual(done.returncode, 0, done.stderr)
        numpy.testing.assert_allclose(numpy.load(output), numpy.load(DATA / MODEL / "output.npy"),
                                      rtol=1e-4, atol=1e-5)
        self.assertEqual(run("workers", CONVOY_CA=str(self.cert)).returncode, 0)
        done = run("workers")  # its signer is not known
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("--ca FILE", done.stderr)

    def test_old_tls_and_plain_http_are_refused(self):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        connection = http.client.HTTPSConnection("localhost", self.port, context=old, timeout=PATIENCE_S)
        with self.assertRaises(OSError):
            connection.request("GET", "/v2/health/live")
        plain = http.client.HTTPConnection("localhost", self.port, timeout=PATIENCE_S)
        with self.assertRaises((http.client.HTTPException, OSError)):
            plain.request("GET", "/v2/health/live")
            plain.getresponse()
        self.assertEqual(self.fleet.ask("GET", "/v2/health/live").status, 200)

    def test_garbage_instead_of_a_handshake_hurts_nobody(self):
        import random
        import socket
        rng = random.Random(5)
        for octets in (rng.randbytes(4096), b"\x16\x03\x01\xff\xff" + bytes(500), b"GET / HTTP/1.1\r\n",
                       b"\x16\x03\x03\x00\x05\x01\x00\x00\x01\x00", b""):
            with socket.create_connection(("localhost", self.port), PATIENCE_S) as raw:
                raw.sendall(octets)
        self.assertEqual(self.fleet.ask("GET", "/v2/health/live").status, 200)

    def test_clients_that_leave_in_the_middle_leave_nothing_behind(self):
        body, headers = oip.request({"images": numpy.load(IMAGES)}, ("images",))
        for cut in (0, 100, len(body)):
            for _ in range(10):
                connection = http.client.HTTPSConnection("localhost", self.port, context=self.fleet.tls,
                                                         timeout=PATIENCE_S)
                connection.putrequest("POST", f"/v2/models/{MODEL}/infer")
                for name, value in {**headers, "Content-Length": len(body),
                                    "Authorization": f"Bearer {self.fleet.key}"}.items():
                    connection.putheader(name, value)
                connection.endheaders()
                connection.send(body[:cut])
                connection.close()
        self.assertEqual(self.fleet.ask("GET", "/v2/health/live").status, 200)


class Reload(unittest.TestCase):
    def served(self, port):
        """The certificate that a new connection is shown, as PEM."""
        return ssl.get_server_certificate(("127.0.0.1", port), timeout=PATIENCE_S)

    def test_sighup_replaces_the_certificate_and_cuts_nobody(self):
        with Fleet(()) as fleet:
            cert, key = make_certificate(fleet.folder, "in-use")
            fleet.start_broker()
            fleet.start_gateway("--http-cert", cert, "--http-key", key)
            host, port = fleet.http.rsplit(":", 1)
            trust = ssl._create_unverified_context()
            kept = http.client.HTTPSConnection(host, int(port), context=trust, timeout=PATIENCE_S)
            kept.request("GET", "/v2/health/live")
            kept.getresponse().read()
            sock = kept.sock
            failed, asked, over = [], [0], threading.Event()

            def load():
                while not over.is_set():
                    try:
                        connection = http.client.HTTPSConnection(host, int(port), context=trust,
                                                                 timeout=PATIENCE_S)
                        connection.request("GET", "/v2/health/live")
                        if connection.getresponse().read() != b'{"live":true}':
                            failed.append("another answer")
                        connection.close()
                        asked[0] += 1
                    except (OSError, http.client.HTTPException) as error:
                        failed.append(repr(error))
            threads = [threading.Thread(target=load) for _ in range(2)]
            for thread in threads:
                thread.start()
            for round_ in range(1, 6):
                before = self.served(int(port))
                fresh = make_certificate(fleet.folder, f"fresh-{round_}", f"round-{round_}")
                for new, old in zip(fresh, (cert, key)):
                    shutil.copy(new, old)
                fleet.gateway.child.send_signal(signal.SIGHUP)
                fleet.gateway.wait_event("certificate_reloaded", round_)
                until("the new certificate", lambda: self.served(int(port)) == fresh[0].read_text())
                self.assertNotEqual(before, fresh[0].read_text())
            until("requests meanwhile", lambda: asked[0] > 20)
            over.set()
            for thread in threads:
                thread.join()
            self.assertEqual(failed, [])
            kept.request("GET", "/v2/health/live")  # the same connection, by the first certificate
            self.assertEqual(kept.getresponse().read(), b'{"live":true}')
            self.assertIs(kept.sock, sock)
            kept.close()

            # Files that do not fit leave the last good pair in use.
            good = self.served(int(port))
            other = make_certificate(fleet.folder, "other")[0].read_text()
            for name, text in ((cert, "no certificate"), (key, "no key"), (cert, other)):
                saved = pathlib.Path(name).read_text()
                pathlib.Path(name).write_text(text)
                count = len(fleet.gateway.events("certificate_kept"))
                fleet.gateway.child.send_signal(signal.SIGHUP)
                line = fleet.gateway.wait_event("certificate_kept", count + 1)
                self.assertIn(str(name), line["why"])
                self.assertEqual(self.served(int(port)), good)
                pathlib.Path(name).write_text(saved)
            self.assertEqual(fleet.gateway.kill(signal.SIGTERM), 0)

    def test_sighup_without_tls_still_ends_the_gateway(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            fleet.start_gateway()
            self.assertEqual(fleet.gateway.kill(signal.SIGHUP), 0)


class Addresses(unittest.TestCase):
    """What a gateway needs to listen where."""

    def start(self, fleet, *arguments):
        done = subprocess.run([BIN / "convoy-gateway", "--data", fleet.folder / "g",
                               *map(str, arguments)], capture_output=True, text=True,
                              timeout=PATIENCE_S)
        return done.returncode, done.stderr

    def test_off_loopback_without_tls_is_refused_with_the_fix(self):
        with Fleet(()) as fleet:
            cert, key = make_certificate(fleet.folder)
            for arguments, words in (
                    (("--http", "0.0.0.0:0"), ("--http-cert", "127.0.0.1", "--http-insecure")),
                    (("--http", "*:0"), ("--http-cert",)),
                    (("--http", "[::]:0", "--http-keys"), ("--http-cert",)),
                    (("--http-cert", cert), ("give both",)), (("--http-key", key), ("give both",)),
                    (("--http-cert", key, "--http-key", key), (str(key), "PEM certificates")),
                    (("--http-cert", cert, "--http-key", cert), ("private key",)),
                    (("--http-cert", "/nowhere", "--http-key", key), ("/nowhere",)),
                    (("--http", "8000"), ("HOST:PORT",))):
                with self.subTest(arguments=arguments):
                    code, said = self.start(fleet, *arguments)
                    self.assertEqual(code, 78, said)
                    for word in words:
                        self.assertIn(word, said)

    def test_insecure_says_what_is_given_up(self):
        for arguments, status, given_up in (
                (("--http-insecure",), 200, "TLS and keys"),
                (("--http-insecure", "--http-keys"), 401, "TLS")):
            with Fleet(()) as fleet:
                fleet.start_broker()
                fleet.http = "0.0.0.0:0"
                fleet.start_gateway(*arguments)
                fleet.http = fleet.http.replace("0.0.0.0", "127.0.0.1")
                self.assertEqual(fleet.ask("GET", "/v1/files").status, status)
                line = fleet.gateway.events("http_insecure")[0]
                self.assertTrue(line["given_up"].startswith(given_up), line)


if __name__ == "__main__":
    unittest.main()
