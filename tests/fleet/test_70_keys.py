"""Keys of the HTTP API: who is let in, who is not, what is said, and what nobody gets to see."""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import unittest

import numpy

from harness import BIN, DATA, PATIENCE_S, ROOT, Fleet, images, until
import oip

SCOPES = ("infer", "batch", "train", "models", "admin")
KEY = re.compile(r"cvk1_[0-9a-f]{32}_[A-Za-z0-9_-]{43}")
INFER = "/v2/models/fashion_cnn/infer"
# Every row of the gateway's route tables: method, pattern, scope.
ROUTE = re.compile(r"\{\s*HTTP_(\w+),\s*((?:(?:MODEL|VERSION)\s*)?(?:\"[^\"]*\")?),\s*SCOPE_(\w+)", re.S)


def routes():
    """(method, path, scope) of every route, with x for what a pattern leaves open."""
    for source in sorted((ROOT / "gateway/api").glob("*.c")):
        text = source.read_text()
        macros = dict(re.findall(r'^#define (MODEL|VERSION)\s+(.*)$', text, re.M))
        for method, pattern, scope in ROUTE.findall(text):
            for _ in range(2):
                for name, value in macros.items():
                    pattern = re.sub(rf"\b{name}\b(?=\s|$|\")", lambda _, v=value: v, pattern)
            path = "".join(re.findall(r'"([^"]*)"', pattern))
            yield method, re.sub(r"\{\w+\}", "x", path), scope.lower()


class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.fleet = cls.enterClassContext(Fleet())
        cls.fleet.start_broker()
        cls.fleet.start_gateway("--http-keys")
        cls.fleet.start_worker()
        cls.admin = (cls.fleet.folder / "gateway/admin.key").read_text().strip()
        cls.fleet.key = cls.admin
        cls.fleet.wait_workers(1)
        cls.fleet.wait_model("fashion_cnn")
        cls.keys = {scope: cls.make(f"only-{scope}", scopes=[scope]) for scope in SCOPES}

    @classmethod
    def make(cls, name, scopes=("infer", "batch"), **more):
        return cls.fleet.post("/v1/keys", {"name": name, "scopes": list(scopes), **more})["key"]

    def ask(self, key, method, path, body=None, **headers):
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self.fleet.key, before = None, self.fleet.key
        try:
            return self.fleet.ask(method, path, body, headers)
        finally:
            self.fleet.key = before

    def infer(self, key):
        body, headers = oip.request({"images": numpy.load(DATA / "fashion_cnn/input.npy")[:1]}, ("images",))
        return self.ask(key, "POST", INFER, body, **headers)

    # --- the table --------------------------------------------------------------------------------

    def test_every_route_asks_for_the_scope_of_its_row(self):
        table = list(routes())
        self.assertGreater(len(table), 40)
        for method, path, scope in table:
            with self.subTest(route=f"{method} {path}", scope=scope):
                nobody = self.ask(None, method, path)
                if scope == "open":
                    self.assertNotIn(nobody.status, (401, 403))
                    continue
                self.assertEqual(nobody.status, 401, nobody.body)
                either = {"files": {"batch", "train"}, "use": {"infer", "batch"}}.get(scope, {scope})
                for name in set(SCOPES) - either - {"admin"}:
                    other = self.ask(self.keys[name], method, path)
                    if scope == "any":
                        self.assertNotIn(other.status, (401, 403))
                        continue
                    self.assertEqual(other.status, 403, f"{name}: {other.body}")
                    self.assertIn(f"only-{name}", other.body.decode())
                    self.assertRegex(other.body.decode(), rf"this needs ({'|'.join(sorted(either))})")
        # What changes nothing is let through, too.
        self.assertEqual(self.infer(self.keys["infer"]).status, 200)
        for scope, path in (("batch", "/v1/files"), ("batch", "/v1/batches"), ("admin", "/v1/keys"),
                            ("models", "/v2/models/stats"), ("admin", "/metrics")):
            self.assertEqual(self.ask(self.keys[scope], "GET", path).status, 200)

    def test_an_admin_may_do_everything(self):
        self.assertEqual(self.infer(self.admin).status, 200)
        for path in ("/v1/files", "/v2/models/stats", "/v1/workers", "/v1/usage"):
            self.assertEqual(self.ask(self.admin, "GET", path).status, 200)

    def test_the_page_says_what_each_route_needs(self):
        page = (ROOT / "gateway/API.md").read_text()
        for scope in ("open", "any", *SCOPES):
            self.assertRegex(page, rf"\| `?{scope}`? \|")

    # --- refusals ---------------------------------------------------------------------------------

    def test_refusals_have_the_shape_of_their_protocol_and_say_what_to_do(self):
        answer = self.ask(None, "GET", "/v2/models")
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.headers["www-authenticate"], 'Bearer realm="convoy"')
        self.assertIn("Authorization: Bearer KEY", answer.json()["error"])
        error = self.ask("cvk1_wrong", "GET", "/v1/files").json()["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertEqual(error["code"], "unauthorized")
        answer = self.ask(self.keys["infer"], "GET", "/v1/files")
        self.assertEqual(answer.json()["error"]["code"], "forbidden")
        self.assertIn('error="insufficient_scope", scope="batch"', answer.headers["www-authenticate"])
        self.assertIn("--scope batch", answer.json()["error"]["message"])

    def test_a_key_anywhere_but_in_the_header_opens_nothing(self):
        key = self.keys["admin"]
        for path, headers in ((f"/v1/files?key={key}", {}), (f"/v1/files?api_key={key}", {}),
                              ("/v1/files", {"X-API-Key": key}), ("/v1/files", {"Cookie": f"key={key}"}),
                              ("/v1/files", {"Authorization": key}),
                              ("/v1/files", {"Authorization": f"Basic {key}"})):
            with self.subTest(path=path[:20], headers=list(headers)):
                self.assertEqual(self.ask(None, "GET", path, **headers).status, 401)

    def test_an_expired_and_a_revoked_key_are_refused_with_the_reason(self):
        key = self.make("brief", scopes=["infer"])
        self.assertEqual(self.infer(key).status, 200)
        gone = self.fleet.ask("DELETE", "/v1/keys/brief")
        self.assertEqual(gone.status, 200, gone.body)
        self.assertEqual(gone.json()["status"], "revoked")
        answer = self.infer(key)
        self.assertEqual(answer.status, 401)
        self.assertIn("was revoked at", answer.json()["error"])
        key = self.make("briefer", scopes=["infer"], expires_in=1)
        answer = until("the key to expire", lambda: (
            (got := self.ask(key, "GET", "/v2/models")).status == 401 and got))
        self.assertIn("expired at", answer.json()["error"])

    def test_wishes_for_keys_are_checked(self):
        for body in ("x", [], {}, {"name": "a"}, {"name": "a", "scopes": []},
                     {"name": "a", "scopes": ["root"]}, {"name": "a", "scopes": ["any"]},
                     {"name": "a b", "scopes": ["infer"]}, {"name": "a", "scopes": "infer"},
                     {"name": "a", "scopes": ["infer"], "tenant": "x/y"},
                     {"name": "a", "scopes": ["infer"], "expires_in": 0},
                     {"name": "a", "scopes": ["infer"], "expires_in": "1d"},
                     {"name": "a", "scopes": ["infer"], "admin": True}):
            with self.subTest(body=body):
                answer = self.fleet.ask("POST", "/v1/keys", body)
                self.assertEqual(answer.status, 400, answer.body)
        answer = self.fleet.ask("POST", "/v1/keys", {"name": "only-infer", "scopes": ["infer"]})
        self.assertEqual(answer.status, 409, answer.body)
        self.assertEqual(self.fleet.ask("DELETE", "/v1/keys/nobody").status, 404)

    # --- secrets ----------------------------------------------------------------------------------

    def test_a_key_is_told_once_and_stands_nowhere(self):
        made = self.fleet.ask("POST", "/v1/keys", {"name": "once", "scopes": ["infer"],
                                                   "tenant": "acme", "expires_in": 3600})
        self.assertEqual(made.headers["cache-control"], "no-store")
        key = made.json()["key"]
        self.assertRegex(key, rf"^{KEY.pattern}$")
        self.infer(key)
        wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
        self.ask(wrong, "GET", "/v2/models")
        self.ask(key, "GET", "/v1/files")
        listed = self.fleet.ask("GET", "/v1/keys").body.decode()
        self.assertIn('"once"', listed)
        self.assertNotIn("cvk1_", listed)
        self.assertNotIn("hash", listed)
        entry = next(k for k in json.loads(listed)["data"] if k["name"] == "once")
        self.assertEqual((entry["tenant"], entry["scopes"], entry["status"]),
                         ("acme", ["infer"], "valid"))
        self.assertIsNotNone(entry["last_used_at"])
        for process in self.fleet.processes:
            self.assertNotIn("cvk1_", process.text(), process.name)
        secret = key.rsplit("_", 1)[0][-8:].encode(), key[38:].encode()
        for path in self.fleet.folder.rglob("*"):
            if path.is_file():
                with self.subTest(file=path.name):
                    self.assertNotIn(secret[1], path.read_bytes())
        for name in ("keys.secret", "admin.key"):
            self.assertEqual((self.fleet.folder / "gateway" / name).stat().st_mode & 0o777, 0o600)

    def test_no_key_is_logged_even_at_the_most_talkative_level(self):
        with Fleet(()) as fleet:
            fleet.start_broker("--log-level", "debug")
            fleet.start_gateway("--http-keys", "--log-level", "debug")
            fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
            key = fleet.post("/v1/keys", {"name": "a", "scopes": ["infer"]})["key"]
            for header in (f"Bearer {key}", f"Bearer {key}x", key, f"Basic {key}", f"Bearer {key[:-1]}"):
                for path in ("/v1/files", "/v2/models", f"/v2/models/{key}", f"/v1/keys?k={key}"):
                    fleet.ask("GET", path, headers={"Authorization": header})
            fleet.ask("DELETE", "/v1/keys/a")
            for process in fleet.processes:
                self.assertNotIn(key[38:], process.text(), process.name)
                self.assertNotIn(fleet.key[38:], process.text(), process.name)

    def test_keys_survive_a_restart(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            fleet.start_gateway("--http-keys")
            fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
            key = fleet.post("/v1/keys", {"name": "a", "scopes": ["admin"]})["key"]
            fleet.gateway.kill()
            (fleet.folder / "gateway/admin.key").unlink()
            fleet.start_gateway("--http-keys")
            self.assertEqual(fleet.get("/v1/keys")["data"][1]["name"], "a")
            fleet.key = key
            self.assertEqual(fleet.ask("GET", "/v1/keys").status, 200)
            self.assertFalse((fleet.folder / "gateway/admin.key").exists())  # there is an admin

    def test_what_is_kept_is_for_its_owner_alone(self):
        with Fleet(()) as fleet:
            fleet.start_broker("--curve", "on", "--state", fleet.folder / "state")
            key = re.search("^public (.*)$", (fleet.folder / "state/broker.key").read_text(), re.M)
            fleet.control += f"={key.group(1)}"
            fleet.start_gateway("--http-keys")
            for name in ("state/broker.key", "gateway/gateway.key", "gateway/ledger/ledger.sqlite"):
                self.assertTrue((fleet.folder / name).exists(), name)
            for name in ("state", "gateway"):
                for path in (fleet.folder / name, *(fleet.folder / name).rglob("*")):
                    self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_an_event_stream_ends_when_its_key_is_revoked(self):
        with Fleet() as fleet:
            fleet.start_broker()
            fleet.start_gateway("--http-keys")
            fleet.key = (fleet.folder / "gateway/admin.key").read_text().strip()
            worker = fleet.start_worker()
            fleet.wait_model("fashion_cnn")
            worker.kill()  # nothing happens to the job from now on
            keys = [fleet.post("/v1/keys", {"name": name, "tenant": "acme", "scopes": ["batch"]})["key"]
                    for name in ("gone", "stays")]
            admin, fleet.key = fleet.key, keys[0]
            job = fleet.score(fleet.upload_bytes(images(10), "rows.npy"))
            streams = []
            for key in keys:
                client = http.client.HTTPConnection(fleet.http, timeout=PATIENCE_S)
                self.addCleanup(client.close)
                client.request("GET", f"/v1/batches/{job}/events", headers={"Authorization": f"Bearer {key}"})
                streams.append(client.getresponse())
                self.assertEqual(streams[-1].readline(), b"event: batch\n")
            fleet.key = admin
            self.assertEqual(fleet.ask("DELETE", "/v1/keys/gone").status, 200)
            with self.assertRaises((http.client.IncompleteRead, ConnectionError)):
                streams[0].read()
            self.assertEqual(fleet.ask("POST", f"/v1/batches/{job}/cancel").status, 200)
            self.assertIn(b'"cancel', streams[1].read())

    # --- without keys -----------------------------------------------------------------------------

    def test_on_loopback_all_is_open_until_keys_are_asked_for(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            fleet.start_gateway()
            self.assertEqual(fleet.ask("GET", "/v1/files").status, 200)
            self.assertFalse((fleet.folder / "gateway/admin.key").exists())
            # Keys can be made beforehand, and headers of clients that always send one do no harm.
            key = fleet.post("/v1/keys", {"name": "a", "scopes": ["admin"]})["key"]
            answer = fleet.ask("GET", "/v1/files", headers={"Authorization": "Bearer nonsense"})
            self.assertEqual(answer.status, 200)
            fleet.gateway.kill()
            fleet.start_gateway("--http-keys")
            self.assertEqual(fleet.ask("GET", "/v1/files").status, 401)
            fleet.key = key
            self.assertEqual(fleet.ask("GET", "/v1/files").status, 200)

    # --- the command ------------------------------------------------------------------------------

    def convoy(self, *arguments, code=0, key=None):
        environment = {**os.environ, "CONVOY_GATEWAY": f"http://{self.fleet.http}",
                       "CONVOY_API_KEY": key or ""}
        done = subprocess.run([BIN / "convoy", *map(str, arguments)], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=PATIENCE_S, env=environment)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done

    def test_the_command_makes_lists_and_revokes(self):
        file = pathlib.Path(self.fleet.folder / "gateway/admin.key")
        made = self.convoy("keys", "create", "bob", "--tenant", "acme", "--scope", "batch,infer",
                           "--ttl", "30d", "--key-file", file)
        self.assertRegex(made.stdout, rf"^{KEY.pattern}\n$")
        self.assertIn("shown this once", made.stderr)
        key = made.stdout.strip()
        listed = self.convoy("keys", "list", key=self.admin).stdout
        self.assertRegex(listed, r"bob +acme +infer,batch +valid +20\d\d-\d\d-\d\d +-")
        self.assertLessEqual(max(map(len, listed.splitlines())), 80, listed)
        self.convoy("infer", "fashion_cnn", DATA / "fashion_cnn/input.npy", key=key)
        refused = self.convoy("keys", "list", key=key, code=5)
        self.assertIn("this needs admin", refused.stderr)
        self.assertIn("CONVOY_API_KEY", self.convoy("jobs", "list", code=5).stderr)
        self.assertIn("opens nothing", self.convoy("keys", "revoke", "bob", key=self.admin).stdout)
        self.assertIn("was revoked", self.convoy("jobs", "list", key=key, code=5).stderr)

    def test_the_last_admin_key_is_not_revoked_by_accident(self):
        with Fleet(()) as fleet:
            fleet.start_broker()
            fleet.start_gateway("--http-keys")
            self.fleet, before = fleet, self.fleet  # for convoy()
            self.addCleanup(setattr, self, "fleet", before)
            file = fleet.folder / "gateway/admin.key"
            first = file.read_text().strip()
            refused = self.convoy("keys", "revoke", "first-admin", key=first, code=5).stderr
            self.assertIn("--yes", refused)
            self.assertIn("convoy keys create NAME --scope admin", refused)
            me = self.convoy("keys", "create", "me", "--scope", "admin", key=first).stdout.strip()
            self.convoy("keys", "revoke", "first-admin", key=me)
            self.convoy("keys", "revoke", "me", key=me, code=5)
            self.convoy("keys", "revoke", "me", "--yes", key=me)
            self.convoy("keys", "list", key=me, code=5)
            fleet.gateway.kill(signal.SIGTERM)
            fleet.start_gateway("--http-keys")  # the way out
            self.convoy("keys", "list", key=file.read_text().strip())
        self.assertIn("--key-file", self.convoy("keys", "list", "--key-file", "nowhere", code=5).stderr)


if __name__ == "__main__":
    unittest.main()
