"""The `convoy` command against a real fleet: what it prints, what it keeps, and its exit codes."""
import gzip
import json
import os
import signal
import struct
import subprocess
import unittest
from unittest import mock

import numpy

from harness import BIN, DATA, PATIENCE_S, Fleet, free_port, until
from onnx_bytes import slow

OK, ROWS_FAILED, USAGE, BAD_MODEL, UNREACHABLE, REFUSED, LOCAL = range(7)
IMAGES = DATA / "fashion_cnn/input.npy"
SCORES = numpy.load(DATA / "fashion_cnn/output.npy")


def convoy(*arguments, gateway=None, code=OK, **more):
    """Run it to its end; checks the exit code."""
    environment = {**os.environ, "CONVOY_GATEWAY": f"http://{gateway}" if gateway else ""}
    done = subprocess.run([BIN / "convoy", *map(str, arguments)], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=PATIENCE_S, env=environment, **more)
    if done.returncode != code:
        raise AssertionError(f"convoy {' '.join(map(str, arguments))}: exit status "
                             f"{done.returncode}, expected {code}\n{done.stdout}\n{done.stderr}")
    return done


class Alone(unittest.TestCase):
    """Without a fleet."""

    def test_help_lists_every_command_and_exit_code(self):
        page = convoy("help").stdout
        self.assertEqual(page, convoy("--help").stdout)
        for word in ("up", "score", "infer", "models", "jobs", "dead", "train", "training", "evaluate", "workers",
                     "nodes", "token", "keys", "run", "exit codes", "CONVOY_GATEWAY"):
            self.assertIn(word, page)
        self.assertTrue(all(len(line) <= 80 for line in page.splitlines()), page)

    def test_every_command_has_a_page_of_its_own(self):
        for command in ("up", "score", "infer", "models", "jobs", "dead", "train", "training", "evaluate", "workers",
                        "nodes", "token", "keys"):
            with self.subTest(command=command):
                page = convoy(command, "--help").stdout
                self.assertIn(f"convoy {command}", page)
                self.assertEqual(page, convoy("help", command).stdout)
                self.assertTrue(all(len(line) <= 80 for line in page.splitlines()), page)
        self.assertIn("--profile", convoy("run", "--help").stdout)

    def test_what_is_no_command_or_option_is_a_usage_error(self):
        for arguments in ((), ("nonsense",), ("help", "nonsense"), ("score",), ("score", "a"), ("score", "a", "b"),
                          ("infer", "a"), ("jobs", "nonsense"), ("jobs", "show"),
                          ("models", "nonsense"), ("models", "add"), ("models", "rm"),
                          ("up", "--workers", "65"), ("up", "nonsense"), ("workers", "x"),
                          ("keys", "create"), ("keys", "revoke"), ("keys", "list", "x"), ("keys", "nonsense", "x"),
                          ("keys", "create", "x", "--ttl", "soon"),
                          ("token", "create", "--ttl", "soon"), ("token", "nonsense"), ("token", "rm"),
                          ("nodes", "nonsense"), ("nodes", "show"),
                          ("score", "a", "b", "-o", "c", "--chunk-rows", "0"), ("run",),
                          ("score", "--nonsense")):
            with self.subTest(arguments=arguments):
                done = convoy(*arguments, code=USAGE)
                self.assertEqual(done.stdout, "")
                self.assertIn("convoy", done.stderr)

    def test_wrong_words_behind_a_verb_are_named(self):
        for words, text in (("jobs show", "jobs show: expected a job's ID; `convoy jobs list` shows"),
                            ("jobs list x", 'jobs list: "x" is too much'),
                            ("jobs cancel", "jobs cancel: expected a job's ID or --all;"),
                            ("jobs x", 'jobs: "x" is none of list, show, watch, cancel'),
                            ("dead retry --all x", 'dead retry: "x" is too much'),
                            ("dead show --all", "dead show: --all does not go with it"),
                            ("training list -n 0", '--limit is "0", expected 1 to 100')):
            with self.subTest(words=words):
                self.assertIn(text, convoy(*words.split(), code=USAGE).stderr)

    def test_a_gateway_that_is_not_there_is_named_with_a_hint(self):
        gateway = f"127.0.0.1:{free_port()}"
        for arguments in (("workers",), ("models", "list"), ("jobs", "list"),
                          ("infer", "m", IMAGES), ("score", "m", IMAGES, "-o", "/dev/null"),
                          ("models", "add", DATA / "rnn_plain.onnx")):
            with self.subTest(arguments=arguments):
                done = convoy(*arguments, gateway=gateway, code=UNREACHABLE)
                self.assertIn(gateway, done.stderr)
                self.assertIn("convoy up", done.stderr)

    def test_version(self):
        self.assertRegex(convoy("version").stdout, r"^convoy \d+\.\d+\.\d+\n$")


class Run(unittest.TestCase):
    """convoy run: the engine alone."""

    def run_in(self, folder, *arguments, code=OK):
        return convoy("run", *arguments, "--output-dir", folder / "out", code=code)

    def test_outputs_are_files_in_graph_order_with_a_listing(self):
        with Fleet(()) as fleet:
            done = self.run_in(fleet.folder, DATA / "fashion_cnn.onnx", "--input",
                               f"images={IMAGES}", "--threads", 1, "--repeat", 3, "--json")
            out = fleet.folder / "out"
            listing = json.loads((out / "outputs.json").read_text())
            self.assertEqual(json.loads(done.stdout), listing)
            (entry,) = listing["outputs"]
            self.assertEqual(entry, {"name": "probabilities", "dtype": "FP32", "shape": [8, 10],
                                     "file": "000.npy"})
            for key in ("load_ms", "arena_bytes", "run_us_min", "run_us_median"):
                self.assertGreater(listing[key], 0)
            numpy.testing.assert_allclose(numpy.load(out / "000.npy"), SCORES, rtol=1e-4, atol=1e-5)

    def test_the_environment_chooses_the_kernels_unless_an_option_does(self):
        with Fleet(()) as fleet:
            arguments = (DATA / "fashion_cnn.onnx", "--input", f"images={IMAGES}", "--profile")
            with mock.patch.dict(os.environ, CONVOY_ISA="generic/strict"):
                done = self.run_in(fleet.folder, *arguments)
                self.assertIn("conv_generic", done.stdout)
                self.assertNotIn("winograd", done.stdout)
                done = self.run_in(fleet.folder, *arguments, "--isa", "generic")
                self.assertIn("winograd", done.stdout)
            with mock.patch.dict(os.environ, CONVOY_ISA="abacus"):
                done = self.run_in(fleet.folder, *arguments, code=REFUSED)
                self.assertIn("abacus", done.stderr)

    def test_the_profile_names_the_operators(self):
        with Fleet(()) as fleet:
            done = self.run_in(fleet.folder, DATA / "fashion_cnn.onnx", "--input",
                               f"images={IMAGES}", "--profile")
            self.assertIn("Conv", done.stdout)

    def test_a_model_that_cannot_run_is_exit_status_3_with_its_operators(self):
        with Fleet(()) as fleet:
            done = self.run_in(fleet.folder, DATA / "bad/unsupported.onnx", "--input",
                               f"x={IMAGES}", code=BAD_MODEL)
            self.assertIn("Frobnicate", done.stderr)
            self.assertIn("Unravel", done.stderr)
            self.run_in(fleet.folder, DATA / "bad/half.onnx", "--input", f"x={IMAGES}",
                        code=BAD_MODEL)

    def test_wrong_inputs_say_expected_and_got(self):
        with Fleet(()) as fleet:
            model = DATA / "rnn_plain.onnx"
            done = self.run_in(fleet.folder, model, "--input",
                               f"features={DATA / 'bad/truncated.npy'}", code=REFUSED)
            self.assertRegex(done.stderr, "expected .* got")
            done = self.run_in(fleet.folder, model, "--input", f"features={IMAGES}", code=REFUSED)
            self.assertIn("UINT8", done.stderr)
            done = self.run_in(fleet.folder, model, "--input", f"nobody={IMAGES}", code=REFUSED)
            self.assertIn("features", done.stderr)
            self.run_in(fleet.folder, model, code=REFUSED)
            self.run_in(fleet.folder, "/nowhere.onnx", "--input", f"x={IMAGES}", code=REFUSED)


class Cli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet(("fashion_cnn", "rnn_plain")))
        cls.fleet.add_model_bytes("slow", slow(60))
        cls.fleet.start_all()
        for model in ("fashion_cnn", "rnn_plain", "slow"):
            cls.fleet.wait_model(model)

    def convoy(self, *arguments, code=OK):
        return convoy(*arguments, gateway=self.fleet.http, code=code)

    def path(self, name, data=None):
        path = self.fleet.folder / name
        if data is not None:
            path.write_bytes(data)
        return path

    # --- models -----------------------------------------------------------------------------------

    def test_models_are_listed_with_their_state(self):
        table = self.convoy("models", "list").stdout
        self.assertRegex(table, r"fashion_cnn +1 +READY")
        listed = json.loads(self.convoy("models", "list", "--json").stdout)
        self.assertIn("rnn_plain", [entry["name"] for entry in listed])

    def test_a_model_is_added_shown_used_and_removed(self):
        model = DATA / "gru_lbr1.onnx"
        done = self.convoy("models", "add", model)
        self.assertIn("gru_lbr1/1 is ready", done.stdout)
        self.assertRegex(done.stdout, r"input +features +FP32 +\[\?,\?,5\]")
        self.assertRegex(done.stdout, r"output +probabilities +FP32")
        self.assertIn("gru_lbr1/2 is ready", self.convoy("models", "add", model).stdout)
        done = self.convoy("models", "add", model, "--version", 2, code=REFUSED)
        self.assertIn("already", done.stderr)
        self.convoy("models", "add", model, "--name", "other", "--version", 7)
        self.convoy("infer", "other/7", DATA / "gru_lbr1/input.npy")
        self.convoy("models", "rm", "gru_lbr1/1")
        self.convoy("infer", "gru_lbr1/1", DATA / "gru_lbr1/input.npy", code=REFUSED)
        self.convoy("infer", "gru_lbr1/2", DATA / "gru_lbr1/input.npy")
        for name in ("gru_lbr1", "other"):
            self.convoy("models", "rm", name)
            self.assertNotIn(name, self.convoy("models", "list").stdout)
        done = self.convoy("models", "rm", "gru_lbr1", code=REFUSED)
        self.assertIn("gru_lbr1", done.stderr)

    def test_a_folder_is_added_with_the_files_beside_the_model(self):
        folder = self.fleet.folder / "in_a_folder"
        folder.mkdir()
        (folder / "model.onnx").write_bytes((DATA / "rnn_plain.onnx").read_bytes())
        (folder / "labels.txt").write_text("a\nb\nc\n")
        self.assertIn("in_a_folder/1", self.convoy("models", "add", f"{folder}/").stdout)
        kept = self.fleet.folder / "gateway/models/in_a_folder/1"
        self.assertEqual(sorted(p.name for p in kept.iterdir()), ["labels.txt", "model.onnx"])
        (folder / "model.onnx").unlink()
        self.assertIn("model.onnx", self.convoy("models", "add", folder, code=REFUSED).stderr)

    def test_a_model_that_cannot_run_is_not_added(self):
        done = self.convoy("models", "add", DATA / "bad/unsupported.onnx", code=BAD_MODEL)
        self.assertIn("Frobnicate", done.stderr)
        self.assertIn("Unravel", done.stderr)
        self.assertNotIn("unsupported", self.convoy("models", "list").stdout)
        self.convoy("models", "add", DATA / "bad/half.onnx", code=BAD_MODEL)
        self.convoy("models", "add", "/nowhere.onnx", code=REFUSED)
        self.convoy("models", "add", DATA / "rnn_plain.onnx", "--name", "a b", code=REFUSED)

    # --- infer ------------------------------------------------------------------------------------

    def test_infer_prints_or_keeps_its_outputs(self):
        done = self.convoy("infer", "fashion_cnn", IMAGES)
        self.assertIn("probabilities FP32 [8,10]", done.stdout)
        out = self.path("infer.npy")
        self.convoy("infer", "fashion_cnn/1", f"images={IMAGES}", "-o", out)
        numpy.testing.assert_allclose(numpy.load(out), SCORES, rtol=1e-4, atol=1e-5)

    def test_infer_says_what_is_wrong(self):
        self.assertIn("nobody", self.convoy("infer", "nobody", IMAGES, code=REFUSED).stderr)
        done = self.convoy("infer", "rnn_plain", IMAGES, code=REFUSED)
        self.assertIn("FP32", done.stderr)
        done = self.convoy("infer", "rnn_plain", DATA / "bad/truncated.npy", code=REFUSED)
        self.assertRegex(done.stderr, "expected .* got")
        self.convoy("infer", "rnn_plain", "/nowhere.npy", code=REFUSED)

    # --- score and jobs ---------------------------------------------------------------------------

    def test_score_from_npy_and_idx_gz_to_npy(self):
        images = numpy.load(IMAGES)
        head = struct.pack(">BBBBIII", 0, 0, 8, 3, *images.shape)
        for source in (IMAGES, self.path("i.idx.gz", gzip.compress(head + images.tobytes()))):
            out = self.path("scores.npy")
            done = self.convoy("score", "fashion_cnn", source, "-o", out)
            self.assertRegex(done.stdout, "completed: rows 8 completed 8 failed 0 redelivered 0 rate")
            numpy.testing.assert_allclose(numpy.load(out), SCORES, rtol=1e-4, atol=1e-5)
            self.assertNotIn("\x1b", done.stderr, "no terminal, no bar")
            self.assertNotIn("\r", done.stderr)
            self.assertIn("100%", done.stderr)

    def test_score_to_json_lines(self):
        out = self.path("scores.jsonl")
        self.convoy("score", "fashion_cnn/1", IMAGES, "-o", out, "--quiet")
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        self.assertEqual([line["custom_id"] for line in lines], [str(i) for i in range(8)])

    def test_score_of_a_bad_row_is_exit_status_1_and_keeps_both_files(self):
        out = self.path("five.jsonl")
        done = self.convoy("score", "rnn_plain", DATA / "bad/one_bad_row.jsonl", "-o", out,
                           code=ROWS_FAILED)
        self.assertIn("failed 1", done.stdout)
        self.assertIn(f"{out}.errors.jsonl", done.stderr)
        self.assertEqual(len(out.read_text().splitlines()), 5)
        (error,) = [json.loads(line) for line in
                    self.path("five.jsonl.errors.jsonl").read_text().splitlines()]
        self.assertEqual(error["row"], 3)

    def test_score_says_what_is_wrong(self):
        out = self.path("none.npy")
        done = self.convoy("score", "rnn_plain", DATA / "bad/truncated.npy", "-o", out, code=REFUSED)
        self.assertRegex(done.stderr, "expected .* got")
        self.convoy("score", "nobody", IMAGES, "-o", out, code=REFUSED)
        self.convoy("score", "rnn_plain", "/nowhere.npy", "-o", out, code=REFUSED)
        done = self.convoy("score", "rnn_plain", IMAGES, "-o", out, code=ROWS_FAILED)
        self.assertIn("UINT8", done.stderr)
        self.assertFalse(out.exists())

    def test_score_asks_for_no_work_when_its_output_cannot_be_written(self):
        before = len(self.fleet.get("/v1/files")["data"])
        for out, reason in (("/nowhere/x.npy", "No such file"), (self.path("."), "directory")):
            done = self.convoy("score", "fashion_cnn", IMAGES, "-o", out, code=LOCAL)
            self.assertIn(reason, done.stderr)
        self.assertEqual(len(self.fleet.get("/v1/files")["data"]), before)

    def test_score_as_json(self):
        done = self.convoy("score", "fashion_cnn", IMAGES, "-o", self.path("j.npy"), "--json")
        report = json.loads(done.stdout)
        self.assertEqual((report["status"], report["total"], report["completed"]),
                         ("completed", 8, 8))

    def test_a_detached_job_is_listed_shown_watched_and_cancelled(self):
        rows = self.path("rows.npy")
        numpy.save(rows, numpy.zeros((4000, 512), numpy.float32))
        job = self.convoy("score", "slow", rows, "--detach").stdout.strip()
        listed = self.convoy("jobs", "list").stdout
        self.assertRegex(listed, rf"{job} +\w+ +(\d+ %|-) +slow")
        self.assertLessEqual(max(map(len, listed.splitlines())), 80, listed)
        self.assertRegex(self.convoy("jobs").stdout, job)
        shown = json.loads(self.convoy("jobs", "show", job).stdout)
        self.assertEqual(shown["id"], job)
        self.assertRegex(self.convoy("jobs", "cancel", job).stdout, "cancel")
        done = self.convoy("jobs", "watch", job, code=ROWS_FAILED)
        self.assertIn("cancelled", done.stdout)
        self.convoy("jobs", "show", "batch_nonsense", code=REFUSED)

    def test_watch_fetches_the_output_of_a_job_that_has_ended(self):
        job = self.convoy("score", "fashion_cnn", IMAGES, "--detach").stdout.strip()
        out = self.path("watched.npy")
        self.convoy("jobs", "watch", job, "-o", out)
        numpy.testing.assert_allclose(numpy.load(out), SCORES, rtol=1e-4, atol=1e-5)

    def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(self):
        rows = self.path("more.npy")
        numpy.save(rows, numpy.zeros((4000, 512), numpy.float32))
        score = subprocess.Popen(
            [BIN / "convoy", "score", "slow", rows, "-o", self.path("never.npy"), "--gateway",
             f"http://{self.fleet.http}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        job = until("the job", lambda: next((
            b["id"] for b in self.fleet.get("/v1/batches?limit=1")["data"]
            if b["status"] == "in_progress" and "slow" in b["endpoint"]), None))
        score.send_signal(signal.SIGINT)
        _, said = score.communicate(timeout=PATIENCE_S)
        self.assertEqual(score.returncode, 130, said)
        self.assertIn(f"convoy jobs watch {job}", said)
        self.assertEqual(self.fleet.batch(job)["status"], "in_progress")
        self.convoy("jobs", "cancel", "--all")

    def test_workers(self):
        table = self.convoy("workers").stdout
        self.assertRegex(table, r"ready +1 +(avx512|avx2|generic)")
        listed = json.loads(self.convoy("workers", "--json").stdout)["workers"]
        self.assertEqual(len(listed), 1)


class Restart(unittest.TestCase):
    def test_score_survives_a_restart_of_the_gateway(self):
        with Fleet() as fleet:
            fleet.start_all()
            fleet.wait_model("fashion_cnn")
            source, out = fleet.folder / "many.npy", fleet.folder / "out.npy"
            numpy.save(source, numpy.concatenate([numpy.load(IMAGES)] * 1500))
            notes = fleet.folder / "score.err"
            score = subprocess.Popen(
                [BIN / "convoy", "score", "fashion_cnn", source, "-o", out, "--chunk-rows", "100",
                 "--gateway", f"http://{fleet.http}", "--json"],
                stdout=subprocess.PIPE, stderr=notes.open("w"), text=True)
            job = until("the job", lambda: next(
                (b["id"] for b in fleet.get("/v1/batches")["data"]), None))
            fleet.wait_rows(job, 1000)
            fleet.gateway.kill()
            until("score to notice", lambda: "trying again" in notes.read_text())
            fleet.start_gateway()
            report, _ = score.communicate(timeout=PATIENCE_S)
            self.assertEqual(score.returncode, 0, notes.read_text())
            self.assertEqual(json.loads(report)["completed"], 12000)
            numpy.testing.assert_allclose(numpy.load(out)[-8:], SCORES, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    unittest.main()
