"""Connections between worker and broker are cut at any byte: between frames, inside them, inside the
handshake. Every row comes once, and nobody is charged with a crash."""
import itertools
import pathlib
import random
import sqlite3
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import (BIN, DATA, Fleet, free_port, images, npy_bytes, npy_parts,  # noqa: E402
                     run_reference)
from proxy import Proxy  # noqa: E402

SEED = 11
PICTURES, TIMES = 1000, 6
ROWS = PICTURES * TIMES
CUTS = 30
OCTETS = (1, 60_000)  # a connection's handshake has some 150, a chunk's DISPATCH 16,000
PROXY = "127.0.0.3"
QUICK = ("--heartbeat-ms", "200", "--lease-ms", "2000")


def cuts():
    chance = random.Random(SEED)
    return itertools.islice(iter(lambda: chance.randint(*OCTETS), None), CUTS)


class Cuts(unittest.TestCase):
    def test_connections_that_are_cut_at_any_byte_lose_nothing_and_charge_nobody(self):
        print(f"seed {SEED}")
        control, data = free_port(), free_port()
        with Fleet() as fleet, \
                Proxy((PROXY, control), ("127.0.0.1", control)), \
                Proxy((PROXY, data), ("127.0.0.1", data)) as proxy:
            fleet.control = f"tcp://127.0.0.1:{control}"
            fleet.start_broker("--data-port", data, *QUICK)
            fleet.start_gateway()
            worker = fleet.start("worker", [
                BIN / "convoy-worker", "--brokers", f"tcp://{PROXY}:{control}", "--threads", "1",
                "--store", fleet.folder / "store"])
            worker.endpoints()
            source = fleet.folder / "images.npy"
            source.write_bytes(images(PICTURES, seed=SEED))
            _, _, pixels = npy_parts(source.read_bytes())
            expected = npy_parts(run_reference(fleet.folder, DATA / "fashion_cnn.onnx",
                                               {"images": source})[0])[2]
            fleet.wait_model("fashion_cnn")
            proxy.start_cutting(cuts())
            job = fleet.score(fleet.upload_bytes(npy_bytes("|u1", (ROWS, 28, 28), pixels * TIMES)),
                              chunk_rows=20)
            batch = fleet.wait_batch(job)
            self.assertEqual(batch["request_counts"],
                             {"total": ROWS, "completed": ROWS, "failed": 0})
            content = npy_parts(fleet.content(batch["output_file_id"]))
            self.assertEqual(content[:2], ("<f4", (ROWS, 10)))
            self.assertTrue(content[2] == expected * TIMES, "the output's bytes differ")
            print(f"{proxy.cut} connections were cut")
            self.assertGreaterEqual(proxy.cut, CUTS // 3)  # some end before their number
            self.charges(fleet)

    def charges(self, fleet):
        """Chunks cover each row once; none crashed anything."""
        path = next((fleet.folder / "gateway").rglob("*.sqlite"))
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.addCleanup(database.close)
        at = begun = 0
        for first, rows, done, attempts, crashes in database.execute(
                "SELECT first_row, rows, done, attempts, crashes FROM chunk ORDER BY first_row"):
            self.assertEqual((first, done, crashes), (at, 1, 0))
            at += rows
            begun += attempts
        self.assertEqual(at, ROWS)
        print(f"{begun} attempts")


if __name__ == "__main__":
    unittest.main()
