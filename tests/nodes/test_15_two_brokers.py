"""A fleet of two brokers on two hosts: one line names both, one of them is enough to join, both let
the node in, and both cut it off."""
import json
import re
import unittest

import zmq

from hosts import BIN, Network, Site, until


class TwoBrokers(unittest.TestCase):
    def setUp(self):
        network = self.enterContext(Network())
        self.hosts = [network.host("first"), network.host("second")]
        self.third = network.host("third")
        self.site = self.enterContext(Site(self.hosts[0], ()))
        public, secret = (key.decode() for key in zmq.curve_keypair())
        data = self.site.folder / "gateway"
        data.mkdir(exist_ok=True)
        (data / "gateway.key").touch(0o600)
        (data / "gateway.key").write_text(f"public {public}\nsecret {secret}\nrole gateway\n")
        self.brokers = [self.broker(host, public) for host in self.hosts]
        self.site.http = None
        gateway = self.site.start("gateway", [
            BIN / "convoy-gateway", "--data", data, "--http", "127.0.0.1:8000", "--brokers",
            ",".join(f"tcp://{host.address}:7700={self.key(host)}" for host in self.hosts)])
        gateway.endpoints()
        gateway.wait_event("broker_joined", 2)

    def broker(self, host, gateway_key):
        broker = self.site.start("broker", [
            BIN / "convoy-broker", "--listen", f"tcp://{host.address}:7700", "--state",
            host.folder / "state", "--gateway-keys", gateway_key], host=host)
        broker.endpoints()
        return broker

    @staticmethod
    def key(host):
        return re.search("^public (.*)$", (host.folder / "state/broker.key").read_text(),
                         re.M).group(1)

    def convoy(self, *arguments):
        done = self.hosts[0].run(["convoy", *arguments])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def worker(self, *arguments):
        return self.site.start("worker", [BIN / "convoy-worker", "--threads", "1", *arguments],
                               host=self.third)

    def sessions(self, broker, event="session_open"):
        return [line for line in broker.events(event) if line["role"] == "worker"]

    def test_a_node_that_joined_is_let_in_and_cut_off_by_both(self):
        worker = self.worker("--join", self.convoy("token", "create").strip(), "--name", "both")
        for broker in self.brokers:
            until("a session with each broker", lambda b=broker: self.sessions(b))
        self.convoy("nodes", "revoke", "both")
        worker.wait_event("broker_lost", 2)
        worker.wait_event("key_refused", 2)
        until("nobody to be there", lambda: json.loads(
            self.convoy("workers", "--json"))["workers"] == [])

    def test_one_broker_is_enough_to_join_and_the_other_learns_of_it(self):
        tokens = [self.convoy("token", "create").strip() for _ in range(3)]
        public = re.search("^public (.*)$", (self.site.folder / "gateway/gateway.key").read_text(),
                           re.M).group(1)
        self.brokers[1].kill()
        for i, token in enumerate(tokens):  # whichever of the two each asks first
            self.worker("--join", token, "--state", self.third.home / f"state-{i}")
        until("all to work through the one that is left",
              lambda: len(self.sessions(self.brokers[0])) == len(tokens))
        again = self.broker(self.hosts[1], public)
        until("all to be let in by the other when it is back",
              lambda: len(self.sessions(again)) == len(tokens))


if __name__ == "__main__":
    unittest.main()
