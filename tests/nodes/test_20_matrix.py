"""Keys x sockets: who is refused, what the broker logs, and that it serves on.

The peers here are Python's (wire.py), so that each key can come to each socket; the broker is the
real one, with CURVE on loopback. After every case a member's session is still there.
"""
import os
import socket
import unittest
import uuid

import zmq
from zmq.utils import z85

from keyed import (BIN, DRAINING, GATEWAY, MEMBER, PATIENCE_S, REVOKED, WORKER, Fleet, Keys, Site,
                   end_watched, outcome, until)
from wire import STATUS, counters, decode, encode

BUG = 70  # sysexits' EX_SOFTWARE
ENROL_MAX = 256  # connections of the enrol port
SOCKETS = ("control", "data", "enrol")


class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site(_Class(cls))
        cls.gateway = cls.site.gateway()
        cls.member, cls.revoked = Keys("good-node"), Keys("bad-node")
        cls.site.tell(cls.gateway, cls.member.node(), cls.revoked.node(REVOKED))
        cls.worker = cls.site.peer(cls.member)
        cls.worker.open()

    def tearDown(self):
        """The broker serves on, and the sessions of before are still there."""
        self.assertIsNone(self.site.broker.child.poll())
        self.gateway.send("QUERY", {"WHAT": 1, "REQUEST": 1})
        state = self.gateway.expect("STATE")[1]
        self.assertIn(self.worker.uuid.bytes, [peer["UUID"] for peer in state["PEERS"]])
        self.worker.pump()

    def test_a_member_comes_in_on_control_and_on_data(self):
        for socket in ("control", "data"):
            self.assertEqual(outcome(self.site.dial(socket, self.member)[1]), "in")

    def test_no_key_is_refused_on_every_socket_and_logged_with_its_address(self):
        for socket in SOCKETS:
            with self.subTest(socket):
                self.assertEqual(outcome(self.site.dial(socket)[1]), "failed")
                self.site.wait_refusal(socket=socket, address="127.0.0.1")

    def test_another_servers_key_is_refused_on_every_socket(self):
        other = Keys("other")
        for socket in SOCKETS:
            with self.subTest(socket):
                self.assertEqual(outcome(self.site.dial(socket, self.member, other.public)[1]),
                                 "failed")

    def test_an_unknown_key_is_refused_and_logged_with_its_fingerprint(self):
        for socket in ("control", "data"):
            with self.subTest(socket):
                stranger = Keys("nobody")
                self.assertEqual(outcome(self.site.dial(socket, stranger)[1]), "refused")
                line = self.site.wait_refusal(socket=socket, key=stranger.print)
                self.assertEqual(line["reason"], "unknown key")

    def test_a_revoked_key_is_refused_and_logged_with_the_nodes_name(self):
        for socket in ("control", "data"):
            with self.subTest(socket):
                self.assertEqual(outcome(self.site.dial(socket, self.revoked)[1]), "refused")
                line = self.site.wait_refusal(socket=socket, node="bad-node")
                self.assertEqual(line["key"], self.revoked.print)
                self.assertEqual(line["reason"], "the key was revoked")

    def test_a_workers_key_opens_no_gateways_session_and_the_other_way_round(self):
        for keys, role in ((self.member, GATEWAY), (self.site.owner, WORKER)):
            with self.subTest(keys=keys.name):
                peer = self.site.peer(keys, role)
                peer.connect("CONTROL", self.site.ends["control"])
                peer.send("HELLO", peer.hello)
                fields = peer.expect("GOODBYE")[1]
                self.assertEqual(fields["STATUS"], STATUS["FORBIDDEN"])
                line = self.site.wait_refusal(key=keys.print)
                self.assertIn("it opens no session of a", line["reason"])

    def test_a_key_that_insists_on_another_role_is_kept_out_for_a_while(self):
        keys = Keys("insistent")
        self.site.tell(self.gateway, self.member.node(), self.revoked.node(REVOKED), keys.node())
        for _ in range(3):
            self.assertEqual(outcome(self.site.dial("data", keys)[1]), "in")
            peer = self.site.peer(keys, GATEWAY)
            peer.connect("CONTROL", self.site.ends["control"])
            peer.send("HELLO", peer.hello)
            self.assertEqual(peer.expect("GOODBYE")[1]["STATUS"], STATUS["FORBIDDEN"])
            peer.close()
        for socket in ("control", "data"):
            self.assertEqual(outcome(self.site.dial(socket, keys)[1]), "refused")
            self.site.wait_refusal(socket=socket, node="insistent", reason=(
                "kept out for a minute: it asked again and again for another role than its own"))

    def test_a_workers_session_cannot_submit_nor_speak_of_nodes(self):
        for message, fields in (("NODES", {"REGISTRY": 9, "PART": 1, "PARTS": 1, "NODES": []}),
                                ("ENROLLED", {"REQUEST": 1, "STATUS": 0}),
                                ("ROTATE", {"PUBLIC": bytes(32), "SECRET": bytes(32)})):
            with self.subTest(message):
                peer = self.site.peer(self.member)
                peer.open()
                peer.send(message, fields)
                self.assertEqual(peer.expect("ERROR")[1]["STATUS"], STATUS["MALFORMED"])
                peer.close()

    def test_a_session_is_not_taken_over_by_another_members_key(self):
        thief = Keys("thief")
        self.site.tell(self.gateway, self.member.node(), self.revoked.node(REVOKED), thief.node())
        peer = self.site.peer(thief, identity=self.worker.uuid, incarnation=99)
        peer.connect("CONTROL", self.site.ends["control"])
        peer.send("HELLO", peer.hello)
        self.assertEqual(peer.expect("GOODBYE")[1]["STATUS"], STATUS["FORBIDDEN"])
        peer.connect("DATA", self.site.ends["data"])
        peer.send("HELLO", {**peer.hello, "SESSION": self.worker.session}, plane="DATA")
        self.assertEqual(peer.expect("GOODBYE")[1]["STATUS"], STATUS["FORBIDDEN"])
        self.assertEqual(len(until("both refusals", lambda: (
            found := self.site.refusals(node="thief")) and len(found) > 1 and found)), 2)

    def test_the_enrol_port_takes_any_key_and_one_message(self):
        stranger = Keys("newcomer")
        dealer, monitor = self.site.dial("enrol", stranger)
        self.assertEqual(outcome(monitor), "in")
        hello = {"ROLE": WORKER, "UUID": uuid.uuid4(), "INCARNATION": 1, "VERSION_MIN": 0,
                 "VERSION_MAX": 1}
        dealer.send_multipart(encode("HELLO", hello))
        self.assertTrue(dealer.poll(PATIENCE_S * 1000))
        name, fields, _, _ = decode(dealer.recv_multipart())
        self.assertEqual((name, fields["STATUS"]), ("ERROR", STATUS["MALFORMED"]))


class _Class:
    """What Site asks of a test, for a whole class."""

    def __init__(self, cls):
        self.enterContext, self.addCleanup = cls.enterClassContext, cls.addClassCleanup


class Enrol(unittest.TestCase):
    def ask(self, site, of, secret=bytes(32)):
        dealer, _ = site.dial("enrol", of)
        dealer.send_multipart(encode("ENROL", {
            "REQUEST": 5, "ROLE": WORKER, "NAME": of.name, "SECRET": secret,
            "PUBLIC": bytes(32)}))  # what a peer says of its own key does not count
        return dealer

    def answer(self, dealer):
        self.assertTrue(dealer.poll(PATIENCE_S * 1000), "no answer to ENROL")
        name, fields, _, _ = decode(dealer.recv_multipart())
        self.assertEqual((name, fields["REQUEST"]), ("ENROLLED", 5))
        return fields

    def test_the_gateway_is_asked_with_the_key_of_the_handshake_and_its_answer_passed_on(self):
        site = Site(self)
        gateway, new = site.gateway(), Keys("new")
        dealer = self.ask(site, new, secret=bytes(range(32)))
        asked = gateway.expect("ENROL")[1]
        self.assertEqual(asked["PUBLIC"], z85.decode(new.public))
        self.assertEqual(asked["SECRET"], bytes(range(32)))
        site.tell(gateway, new.node())
        brokers = [{"ENDPOINT": "tcp://192.0.2.1:7700", "PUBLIC": bytes(32)}]
        gateway.send("ENROLLED", {"REQUEST": asked["REQUEST"], "STATUS": 0, "NAME": "new-1",
                                  "BROKERS": brokers})
        answer = self.answer(dealer)
        self.assertEqual((answer["STATUS"], answer["NAME"], answer["BROKERS"]),
                         (0, "new-1", brokers))
        site.peer(new).open()  # admitted at once
        self.assertEqual(site.broker.wait_event("node_enrolled")["key"], new.print)

    def test_an_expired_token_is_refused_and_logged_and_nothing_exits(self):
        site = Site(self)
        gateway, late = site.gateway(), Keys("late")
        dealer = self.ask(site, late)
        asked = gateway.expect("ENROL")[1]
        gateway.send("ENROLLED", {"REQUEST": asked["REQUEST"], "STATUS": STATUS["FORBIDDEN"],
                                  "TEXT": "the token has expired"})
        answer = self.answer(dealer)
        self.assertEqual(answer["STATUS"], STATUS["FORBIDDEN"])
        self.assertIn("expired", answer["TEXT"])
        line = site.broker.wait_event("enrol_refused")
        self.assertEqual((line["key"], line["name"]), (late.print, "late"))
        self.assertEqual(outcome(site.dial("control", late)[1]), "refused")
        self.assertIsNone(site.broker.child.poll())

    def test_a_secret_that_one_gateway_does_not_know_is_offered_to_the_next(self):
        site = Site(self)
        second = Keys("second", GATEWAY)
        first = site.gateway()
        site.tell(first, second.node())
        gateways = [first, site.gateway(second)]
        dealer = self.ask(site, Keys("new"))
        for status in (STATUS["NOT_FOUND"], 0):
            def asked_one():
                for gateway in gateways:
                    gateway.pump(0.05)
                return next((g for g in gateways if any(m[0] == "ENROL" for m in g.inbox)), None)
            one = until("a gateway to be asked", asked_one)
            question = one.expect("ENROL")[1]
            one.send("ENROLLED", {"REQUEST": question["REQUEST"], "STATUS": status})
        self.assertEqual(self.answer(dealer)["STATUS"], 0)

    def test_silent_connections_make_room_for_who_enrols(self):
        site = Site(self)
        gateway, new = site.gateway(), Keys("new")
        host, port = site.ends["enrol"].removeprefix("tcp://").rsplit(":", 1)
        silent = [self.enterContext(socket.create_connection((host, int(port))))
                  for _ in range(ENROL_MAX)]
        dealer = self.ask(site, new)
        asked = gateway.expect("ENROL")[1]
        gateway.send("ENROLLED", {"REQUEST": asked["REQUEST"], "STATUS": 0})
        self.assertEqual(self.answer(dealer)["STATUS"], 0)
        line = site.broker.wait_event("enrol_full")
        self.assertEqual(line["shut_down"], "{}:{}".format(*silent[0].getsockname()))

    def test_without_a_gateway_the_answer_says_so(self):
        site = Site(self)
        answer = self.answer(self.ask(site, Keys("early")))
        self.assertEqual(answer["STATUS"], STATUS["UNAVAILABLE"])
        self.assertIn("no gateway", answer["TEXT"])

    def test_more_enrolments_than_allowed_in_a_second_wait(self):
        site = Site(self, "--enrol-per-s", "1")
        gateway = site.gateway()
        for _ in range(3):
            self.ask(site, Keys("one of many"))
        site.wait_refusal(reason="too many enrolments at a time")
        for _ in range(3):  # libzmq comes again by itself
            question = gateway.expect("ENROL")[1]
            gateway.send("ENROLLED", {"REQUEST": question["REQUEST"], "STATUS": 0})


class Registry(unittest.TestCase):
    def test_a_revoked_keys_session_is_cut_at_once_and_the_others_stay(self):
        site = Site(self)
        gateway = site.gateway()
        bad, good = Keys("bad-node"), Keys("good-node")
        site.tell(gateway, bad.node(), good.node())
        cut, kept = site.peer(bad), site.peer(good)
        cut.open()
        kept.open()
        site.tell(gateway, bad.node(REVOKED), good.node())
        self.assertEqual(cut.expect("GOODBYE")[1]["STATUS"], STATUS["FORBIDDEN"])
        line = site.broker.wait_event("session_cut")
        self.assertEqual((line["node"], line["key"]), ("bad-node", bad.print))
        self.assertEqual(outcome(site.dial("control", bad)[1]), "refused")
        self.assertEqual(counters(gateway)["now_workers"], 1)

    def test_known_nodes_come_in_after_a_restart_while_no_gateway_is_up(self):
        site = Site(self)
        gateway = site.gateway()
        good, bad = Keys("good-node"), Keys("bad-node")
        nodes = [Keys(f"node-{i}").node() for i in range(2000)]
        site.tell(gateway, good.node(), bad.node(REVOKED), *nodes, parts=3)
        gateway.close()
        self.assertEqual(os.stat(site.fleet.folder / "state/registry").st_mode & 0o777, 0o600)
        site.listen = site.ends["control"]
        before = site.key
        site.broker.kill()
        site.start()
        self.assertEqual(site.key, before, "the key was made at first start and stays")
        site.peer(good).open()
        self.assertEqual(outcome(site.dial("control", bad)[1]), "refused")

    def test_a_drained_node_is_told_gets_nothing_and_may_come_back(self):
        site = Site(self)
        gateway, node = site.gateway(), Keys("node")
        site.tell(gateway, node.node())
        worker = site.peer(node)
        worker.open()
        site.tell(gateway, node.node(DRAINING))
        self.assertEqual(worker.expect("DRAIN")[1]["STANDING"], DRAINING)
        again = site.peer(node)
        again.open()
        again.expect("DRAIN", lambda fields: fields.get("STANDING") == DRAINING)
        site.tell(gateway, node.node(MEMBER))
        again.expect("GOODBYE")
        site.peer(node).open()

    def test_parts_that_do_not_follow_and_older_versions_change_nothing(self):
        site = Site(self)
        gateway, node = site.gateway(), Keys("node")
        site.tell(gateway, node.node())
        gateway.send("NODES", {"REGISTRY": 2, "PART": 2, "PARTS": 2, "NODES": []})
        self.assertEqual(gateway.expect("ERROR")[1]["STATUS"], STATUS["MALFORMED"])
        gateway.send("NODES", {"REGISTRY": 0, "PART": 1, "PARTS": 1, "NODES": []})
        self.assertEqual(gateway.expect("NODES_ACK")[1]["REGISTRY"], 1)
        site.peer(node).open()

    def test_nodes_that_break_a_rule_change_nothing_and_cost_no_more_than_the_session(self):
        site = Site(self)
        node = Keys("node").node()
        whole = {"REGISTRY": 1, "PART": 1, "PARTS": 1, "NODES": [node]}
        wrong = [{"REGISTRY": None}, {"PART": 0}, {"PART": 2}, {"PARTS": 65537}, {"NODES": 7},
                 {"NODES": [{**node, "PUBLIC": bytes(31)}]}, {"NODES": [{**node, "ROLE": 3}]},
                 {"NODES": [{**node, "STANDING": 0}]}, {"NODES": [{**node, "STANDING": 4}]},
                 {"NODES": [{**node, "NAME": "x" * 256}]}, {"NODES": [{}]},
                 {"NODES": [{"PUBLIC": bytes(32), "ROLE": 2, "STANDING": 1}] * 1025}]
        for change in wrong:
            with self.subTest(change=str(change)[:80]):
                gateway = site.gateway()
                fields = {**whole, **change}
                gateway.send("NODES", {k: v for k, v in fields.items() if v is not None})
                self.assertEqual(gateway.expect("ERROR")[1]["STATUS"], STATUS["MALFORMED"])
                gateway.close()
        gateway = site.gateway()
        gateway.send("NODES", {**whole, "NODES": []})
        self.assertEqual(gateway.expect("NODES_ACK")[1]["REGISTRY"], 1)
        self.assertFalse(site.broker.events("registry"), "the table never changed")

    def test_no_gateway_revokes_a_key_of_the_configuration(self):
        site = Site(self)
        gateway = site.gateway()
        second = Keys("second", GATEWAY)
        site.tell(gateway, second.node())
        rebel = site.gateway(second)
        rebel.send("NODES", {"REGISTRY": 1, "PART": 1, "PARTS": 1,
                             "NODES": [site.owner.node(REVOKED)]})
        rebel.expect("NODES_ACK")
        site.gateway()

    def test_rotate_reaches_the_sessions_of_that_key_alone(self):
        site = Site(self)
        gateway = site.gateway()
        old, other = Keys("old"), Keys("other")
        site.tell(gateway, old.node(), other.node())
        peers = [site.peer(old), site.peer(other)]
        for peer in peers:
            peer.open()
        gateway.send("ROTATE", {"PUBLIC": z85.decode(old.public), "SECRET": bytes(32)})
        peers[0].expect("ROTATE")
        site.tell(gateway, old.node(), other.node(DRAINING))
        peers[1].expect("DRAIN")  # what was sent before it has come as well
        self.assertNotIn("ROTATE", [message[0] for message in peers[1].inbox])


class FailsClosed(unittest.TestCase):
    def test_when_the_zap_thread_stops_nobody_comes_in_and_the_broker_says_why_it_ends(self):
        owner = Keys("owner", GATEWAY)
        folder = self.enterContext(Fleet(())).folder
        stop = folder / "stop"
        site = Site(self, environment={"CONVOY_TEST_ZAP_STOP": str(stop)}, gateway=owner)
        site.gateway()
        stop.touch()
        until("the broker to end", lambda: site.broker.child.poll() is not None)
        self.assertEqual(site.broker.child.wait(), BUG)
        self.assertIn("the ZAP handler, which decides on every CURVE handshake, has stopped",
                      site.broker.text())
        dealer, monitor = site.dial("control", owner)
        self.assertFalse(dealer.poll(0))

    def test_a_broker_off_loopback_asks_for_keys_without_being_told_to(self):
        with Fleet(()) as fleet:
            broker = fleet.start("broker", [BIN / "convoy-broker", "--listen", "tcp://0.0.0.0:0",
                                            "--state", fleet.folder / "state"])
            ends = broker.endpoints()
            self.assertIn("enrol", ends)
            self.assertIn("gateway_keys", broker.wait_event("no_gateway_known")["hint"])
            dealer = zmq.Context.instance().socket(zmq.DEALER)
            monitor = dealer.get_monitor_socket()
            dealer.connect(ends["control"].replace("0.0.0.0", "127.0.0.1"))
            self.assertEqual(outcome(monitor), "failed")
            end_watched(dealer, monitor)

    def test_damaged_files_are_refused_with_the_fix(self):
        for name, text, fix in (("broker.key", "public x\n", "restore the file"),
                                ("registry", "convoy-registry 1\nnonsense\n", "remove it")):
            with self.subTest(name), Fleet(()) as fleet:
                state = fleet.folder / "state"
                state.mkdir()
                (state / name).write_text(text)
                (state / name).chmod(0o600)
                broker = fleet.start("broker", [
                    BIN / "convoy-broker", "--listen", "tcp://127.0.0.1:0", "--curve", "on",
                    "--state", state])
                self.assertEqual(broker.child.wait(PATIENCE_S), 78)
                self.assertIn(fix, broker.text())


if __name__ == "__main__":
    unittest.main()
