"""convoy-run by itself: what a model takes."""
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy
from harness import BIN
from onnx_bytes import slow

FEW, MANY = 4, 200


class Memory(unittest.TestCase):
    def peak_bytes(self, layers):
        """Of a network whose layers all have the same weights, 1 MiB."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "model.onnx").write_bytes(slow(layers))
        numpy.save(folder / "x.npy", numpy.ones((1, 512), numpy.float32))
        child = subprocess.Popen([BIN / "convoy-run", folder / "model.onnx", "--input",
                                  f"x={folder / 'x.npy'}", "--output-dir", folder / "out"],
                                 stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(child.returncode, 0)
        return usage.ru_maxrss * 1024

    def test_weights_that_many_nodes_share_are_packed_once(self):
        more = self.peak_bytes(MANY) - self.peak_bytes(FEW)
        print(f"{MANY - FEW} layers more take {more / 2**20:.1f} MiB more")
        self.assertLess(more, (MANY - FEW) * 2**20 / 4)


if __name__ == "__main__":
    unittest.main()
