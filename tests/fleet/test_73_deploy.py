"""deploy/: units that systemd takes without a word, examples that are current, an image that is whole."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from harness import BIN, PATIENCE_S, ROOT, SANITIZED, Fleet

DEPLOY = ROOT / "deploy"
ROLES = ("broker", "gateway", "worker")
PARAM = re.compile(r"^PARAM\((\w+),", re.M)


def say(*arguments):
    """What a program prints, without our environment."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True,
                          timeout=PATIENCE_S, env={"PATH": os.environ["PATH"]})
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Examples(unittest.TestCase):
    def test_each_example_is_what_its_program_prints(self):
        for role in ROLES:
            with self.subTest(role=role):
                example = DEPLOY / f"{role}.conf.example"
                self.assertEqual(example.read_text(), say(BIN / f"convoy-{role}", "--print-config"),
                                 f"{example.name} is old: make examples")

    def test_each_example_explains_every_parameter_of_its_lists(self):
        for role in ROLES:
            text = (DEPLOY / f"{role}.conf.example").read_text()
            names = [name for source in (f"{role}/params.def", "common/daemon.def")
                     for name in PARAM.findall((ROOT / source).read_text())]
            self.assertGreater(len(names), 5)
            for name in names:
                with self.subTest(role=role, parameter=name):
                    self.assertRegex(text, rf"\n# .+\n# \(default .*\)\n#{name} = ")

    def test_an_example_with_every_line_in_force_is_a_configuration(self):
        for role in ROLES:
            with self.subTest(role=role), tempfile.TemporaryDirectory() as folder:
                text = (DEPLOY / f"{role}.conf.example").read_text()
                file = pathlib.Path(folder) / "all.conf"
                file.write_text(re.sub(r"^#(\w+ = )", r"\1", text, flags=re.M))
                self.assertEqual(say(BIN / f"convoy-{role}", "--config", file, "--print-config"), text)


class Units(unittest.TestCase):
    def units(self):
        return sorted(DEPLOY.glob("*.service"))

    def test_systemd_takes_every_unit_without_a_word(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("systemd-analyze is not on this machine: install the package systemd")
        self.assertEqual(len(self.units()), len(ROLES))
        with tempfile.TemporaryDirectory() as folder:
            copies = []
            for unit in self.units():
                copies.append(pathlib.Path(folder) / unit.name)
                copies[-1].write_text(unit.read_text().replace("/usr/local/bin", str(BIN)))
            done = subprocess.run(["systemd-analyze", "verify", *map(str, copies)],
                                  capture_output=True, text=True, timeout=PATIENCE_S)
            self.assertEqual((done.stdout, done.stderr, done.returncode), ("", "", 0))
            # And it would have said something: a unit with a word that is none.
            copies[0].write_text(copies[0].read_text().replace("Restart=", "Restrat=", 1))
            done = subprocess.run(["systemd-analyze", "verify", str(copies[0])], capture_output=True,
                                  text=True, timeout=PATIENCE_S)
            self.assertIn("Restrat", done.stdout + done.stderr)

    def test_units_name_only_options_that_their_program_has(self):
        for unit in self.units():
            command = re.search(r"^ExecStart=\S+/(convoy-\w+)(.*)$", unit.read_text(), re.M)
            page = say(BIN / command[1], "--help")
            for option in re.findall(r"--[\w-]+", command[2]):
                with self.subTest(unit=unit.name, option=option):
                    self.assertIn(f"  {option} ", page)


class KeysPage(unittest.TestCase):
    def test_its_commands_make_a_certificate_and_keys_that_work(self):
        page = (DEPLOY / "KEYS.md").read_text()
        blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", page, re.M | re.S)
        certificate = next(block for block in blocks if block.startswith("openssl"))
        first, more = (next(block for block in blocks if block.startswith(f"convoy keys create {name} "))
                       for name in ("me", "alice"))
        with Fleet(()) as fleet:
            def run(script, **environment):
                done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=fleet.folder,
                                      capture_output=True, text=True, timeout=PATIENCE_S, env={
                                          **os.environ, "PATH": f"{BIN}:{os.environ['PATH']}",
                                          "CONVOY_GATEWAY": f"https://{fleet.http}",
                                          "CONVOY_CA": "http.crt", **environment})
                self.assertEqual(done.returncode, 0, f"{script}\n{done.stdout}{done.stderr}")
                return done.stdout
            run(certificate)
            self.assertEqual((fleet.folder / "http.key").stat().st_mode & 0o777, 0o600)
            fleet.start_broker()
            fleet.start_gateway("--http-keys", "--http-cert", fleet.folder / "http.crt",
                                "--http-key", fleet.folder / "http.key")
            self.assertEqual(fleet.gateway.events("tls_key_open"), [])
            key = run(first.replace("/var/lib/convoy-gateway", "gateway")).strip()
            said = run(more, CONVOY_API_KEY=key)
            self.assertRegex(said, r"alice +acme +infer,batch +valid")
            self.assertIn('"alice" opens nothing any more', said)


class Image(unittest.TestCase):
    def test_the_image_installs_every_library_that_a_program_names(self):
        if SANITIZED or not shutil.which("objdump") or not shutil.which("dpkg-query"):
            self.skipTest("needs objdump, dpkg and programs without sanitizers")
        text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
        packages = set(re.search(r"--no-install-recommends (.*?) &&", text)[1].split())
        for program in (*(f"convoy-{role}" for role in ROLES), "convoy-run", "convoy"):
            for library in re.findall(r"NEEDED +(\S+)", say("objdump", "-p", BIN / program)):
                found = say("dpkg-query", "-S", f"*/{library}").splitlines()
                owners = {line.split(":")[0] for line in found}
                with self.subTest(program=program, library=library):
                    self.assertTrue(owners & (packages | {"libc6"}), f"{owners}: none in {packages}")

    def test_the_image_runs_what_there_is(self):
        text = (DEPLOY / "Containerfile").read_text()
        self.assertRegex(text, r'ENTRYPOINT \["convoy"\]')
        self.assertIn("deploy/setup build", text)
        self.assertRegex(say(BIN / "convoy", "help"), r"\n  up +\[")


if __name__ == "__main__":
    unittest.main()
