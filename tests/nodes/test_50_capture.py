"""Who listens on the network between two machines sees no tensor and no model: the same marker is
found where the links are plain, so the search can find it."""
import io
import unittest

import numpy

from hosts import Process
from up import Network, Up, linear_model

MODEL_MARKER = b"marker-in-the-model-3f9c1d7a"
ROW_MARKER = b"marker-in-the-rows--8e2b6c40"  # a multiple of 4 octets: they travel as FP32
ROWS = 64


def rows():
    """[ROWS, 784] of FP32 whose octets hold the marker again and again; small numbers around it."""
    data = numpy.zeros((ROWS, 784), numpy.float32)
    words = numpy.frombuffer(ROW_MARKER, numpy.float32)
    assert numpy.isfinite(words).all()
    data[:, 100:100 + len(words)] = words
    out = io.BytesIO()
    numpy.save(out, data)
    return out.getvalue(), data


class Capture(unittest.TestCase):
    def score(self, folder, convoy):
        """The job, by the command line; its outputs are right."""
        data, values = rows()
        model, weights = linear_model(MODEL_MARKER.decode())
        self.assertIn(MODEL_MARKER, model)
        self.assertIn(ROW_MARKER, data)
        (folder / "marked.onnx").write_bytes(model)
        (folder / "rows.npy").write_bytes(data)
        convoy("models", "add", folder / "marked.onnx")
        convoy("score", "marked", folder / "rows.npy", "-o", folder / "out.npy")
        expected = values.astype(numpy.float64) @ weights.astype(numpy.float64)
        numpy.testing.assert_allclose(numpy.load(folder / "out.npy"), expected, rtol=1e-3)

    def test_between_two_machines_nothing_is_in_clear(self):
        with Network() as network:
            fleet, other = network.host("fleet"), network.host("other")
            path = network.folder / "between.pcap"
            with Up(fleet) as up, fleet.capture(path):
                worker = Process("worker", other.inside("convoy-worker", "--join", up.token()),
                                 other.folder)
                self.addCleanup(worker.close)
                up.wait_workers(1)
                self.score(fleet.home, up.convoy)
                self.assertGreaterEqual(up.workers()[0]["rows"], ROWS)  # that worker did it
            seen = path.read_bytes()
            self.assertGreater(len(seen), ROWS * 784 * 4)  # all of it passed
            for marker in (MODEL_MARKER, ROW_MARKER, b"marked", b"http://"):
                self.assertNotIn(marker, seen)
            print(f"{len(seen)} octets captured between two machines, no marker in them")

    def test_on_plain_loopback_the_same_search_finds_both(self):
        with Network() as network:
            host = network.host("alone")
            path = network.folder / "loopback.pcap"
            with Up(host, 1, "tcp://127.0.0.1:7700") as up, host.capture(path, "lo"):
                up.wait_workers(1)
                self.score(host.home, up.convoy)
            seen = path.read_bytes()
            self.assertIn(MODEL_MARKER, seen)
            self.assertIn(ROW_MARKER, seen)


if __name__ == "__main__":
    unittest.main()
