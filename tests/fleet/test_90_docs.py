"""Every command that README.md shows is run, in its order, on a fleet; pages link to what is there."""
import gzip
import os
import re
import struct
import subprocess
import unittest

import numpy

from harness import BIN, DATA, PATIENCE_S, ROOT, Fleet, until

# What other tests run: the two whole demonstrations, the build itself, and `convoy up` (test_81).
ELSEWHERE = re.compile(r"^(deploy/setup\b|make\b|convoy up\b)")
FASHION = "/usr/share/datasets/fashion-mnist"  # a training on all of it takes minutes
STAYS = re.compile(r"^convoy-worker\b")  # runs until it is told to end


def blocks(page):
    """The shell blocks of a page, without comments."""
    text = (ROOT / page).read_text()
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S):
        yield re.sub(r"\s+#.*$", "", block, flags=re.M)


def make_fashion(folder):
    """Files named and made as those of FASHION, with 64 pictures each."""
    folder.mkdir()
    images = numpy.tile(numpy.load(DATA / "fashion_cnn/input.npy"), (8, 1, 1))
    labels = numpy.tile(numpy.load(DATA / "fashion_cnn/output.npy").argmax(1).astype("u1"), 8)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            with gzip.open(folder / f"{part}-{name}-ubyte.gz", "wb") as file:
                file.write(head + array.tobytes())


class Docs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(()))
        cls.fleet.start_all(2)
        # Pages name files as they lie in the repository; what is written stays out of it.
        cls.folder = cls.fleet.folder / "here"
        cls.folder.mkdir()
        (cls.folder / "tests").symlink_to(ROOT / "tests")
        make_fashion(cls.fleet.folder / "fashion")

    def shell(self, script):
        """Run it with our addresses in place of the usual ones; an HTTP error is a failure."""
        script = script.replace("localhost:8000", self.fleet.http).replace(
            "tcp://127.0.0.1:7700", self.fleet.control).replace(
            FASHION, str(self.fleet.folder / "fashion"))
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c",
             "curl() { command curl --fail-with-body \"$@\"; }\n" + script],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}",
                 "CONVOY_GATEWAY": f"http://{self.fleet.http}"})

    def run_block(self, block):
        lines = [line for line in block.splitlines(keepends=True) if not ELSEWHERE.match(line)]
        if any(STAYS.match(line) for line in lines):
            process = self.shell("exec " + "".join(lines))
            try:
                until("the worker to join", lambda: len(self.fleet.workers()) == 3)
            finally:
                process.terminate()
                said, _ = process.communicate(timeout=PATIENCE_S)
            self.assertEqual(process.returncode, 0, said)
            return
        process = self.shell("".join(lines))
        said, _ = process.communicate(timeout=PATIENCE_S)
        self.assertEqual(process.returncode, 0, f"{block}\n{said}")

    def test_the_commands_of_the_readme_work_in_their_order(self):
        for block in blocks("README.md"):
            with self.subTest(block=block[:60]):
                self.run_block(block)
        self.assertEqual(sorted(p.name for p in self.folder.iterdir()),
                         ["out", "scores.npy", "seed_cnn.onnx", "tests"])
        self.assertEqual([job["status"] for job in self.fleet.get("/v1/training/jobs")["data"]],
                         ["completed"] * 3)

    def test_the_readme_shows_the_two_commands_first(self):
        self.assertEqual([line.split()[:2] for line in next(blocks("README.md")).splitlines()],
                         [["make", "demo"], ["make", "test"]])

    def test_the_readme_adds_a_machine_as_the_page_does(self):
        page = (ROOT / "deploy/ADD-A-NODE.md").read_text()  # which tests/nodes runs word by word
        section = (ROOT / "README.md").read_text().split("## More machines")[1].split("\n## ")[0]
        commands = re.findall(r"^    (convoy.*?) +#", section, re.M)
        self.assertEqual(len(commands), 3)
        for command in commands:
            self.assertIn(f"\n{command}\n", page)

    def test_the_model_check_makes_every_run_unless_one_is_named(self):
        for names in ([], ["cycles"]):
            said = subprocess.run(
                ["make", "--no-print-directory", "-n", "check-model", *(f"RUN={name}" for name in names)],
                cwd=ROOT, capture_output=True, text=True, check=True).stdout
            self.assertEqual(said.splitlines()[-1].split(), ["tests/model/run", "build/model", *names])

    def test_pages_link_only_to_what_is_there(self):
        for page in ROOT.rglob("*.md"):
            if {"build", ".git"} & set(page.relative_to(ROOT).parts):
                continue
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
                with self.subTest(page=str(page.relative_to(ROOT)), link=link):
                    self.assertTrue((page.parent / link).exists())


if __name__ == "__main__":
    unittest.main()
