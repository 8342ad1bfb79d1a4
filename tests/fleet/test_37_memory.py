"""More models than one worker has memory for: each finds a place, and loads stay rare."""
import concurrent.futures
import random
import unittest

import numpy
from harness import Fleet
from oip import infer
from onnx_bytes import slow

MODELS = [f"slow-{i}" for i in range(6)]
WORKERS = 2
CLIENTS = 12
TASKS = 3000


class Memory(unittest.TestCase):
    def test_models_that_fit_the_fleet_but_no_worker_are_not_loaded_for_every_task(self):
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        fleet = self.enterContext(Fleet(()))
        for i, name in enumerate(MODELS):
            fleet.add_model_bytes(name, slow(4, seed=i))  # 1 MiB of weights
        fleet.start_broker()
        fleet.start_gateway()
        workers = [fleet.start_worker("--model-bytes", "4MiB", "--log-level", "debug")
                   for _ in range(WORKERS)]  # three have room in one worker
        fleet.wait_workers(WORKERS)
        for name in MODELS:
            fleet.wait_model(name)
        x = numpy.random.default_rng(seed).standard_normal((16, 512), numpy.float32)

        def ask(i):
            name = random.Random(seed + i).choice(MODELS)
            infer(fleet, name, {"x": x}, binary=("x",))

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(ask, range(TASKS)))
        loads = [len(worker.events("model_loaded")) for worker in workers]
        self.assertGreater(sum(loads), len(MODELS))
        self.assertLess(sum(loads), TASKS / 10, loads)


if __name__ == "__main__":
    unittest.main()
