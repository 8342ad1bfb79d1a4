"""A broker's own key changes: a second port, everybody follows, the old one is closed."""
import unittest

from zmq.utils import z85

from keyed import BIN, Gateway, Site


class BrokerKey(unittest.TestCase):
    def gateway(self, site):
        """The real one, with the owner's key."""
        data, owner = site.fleet.folder / "gateway", site.owner
        data.mkdir(exist_ok=True)
        (data / "gateway.key").write_text(
            f"public {owner.public.decode()}\nsecret {owner.secret.decode()}\n")
        (data / "gateway.key").chmod(0o600)
        gateway = site.fleet.start("gateway", [
            BIN / "convoy-gateway", "--brokers", f"{site.ends['control']}={site.key.decode()}",
            "--http", "127.0.0.1:0", "--data", data])
        site.fleet.http = gateway.endpoints()["http"].removeprefix("http://")
        gateway.wait_event("broker_joined")
        return gateway

    def worker(self, site, *arguments, state="worker"):
        worker = site.fleet.start("worker", [
            BIN / "convoy-worker", "--state", site.fleet.folder / state, "--threads", "1",
            "--store", site.fleet.folder / "store", *arguments])
        worker.wait_event("joined")
        return worker

    def test_it_changes_by_a_second_port_and_gateway_and_worker_follow(self):
        site = Site(self)
        state = site.fleet.folder / "state"
        gateway = self.gateway(site)
        worker = self.worker(site, "--join", site.fleet.post("/v1/tokens", {})["token"])
        site.listen, old_key = site.ends["control"], site.key
        site.broker.kill()
        site.more = ("--next-listen", "tcp://127.0.0.1:0")
        site.start()
        self.assertEqual(site.key, old_key)
        new_key = (state / "broker.key.next").read_text().split()[1]
        for program in (gateway, worker):
            moved = program.wait_event("broker_moved")
            self.assertEqual(moved["broker"], site.ends["next"])
        # Who comes by the old port is told of the next one, which is on the same host.
        peer = Gateway(site.ends["control"], keys=site.keys(site.owner))
        told = peer.open()["BROKERS"][0]
        peer.close()
        self.assertEqual(told, {"ENDPOINT": "tcp://*:" + site.ends["next"].rsplit(":", 1)[1],
                                "PUBLIC": z85.decode(new_key), "BROKER": peer.terms["BROKER"]})
        # Who joins meanwhile joins under the next key.
        newcomer = self.worker(site, "--join", site.fleet.post("/v1/tokens", {})["token"],
                               state="newcomer")
        self.assertIn(site.ends["next"].rsplit(":", 1)[1], newcomer.text())
        newcomer.kill()
        # The change is over: the next key is the only one, and the old port is closed.
        site.broker.kill()
        worker.kill()
        (state / "broker.key.next").rename(state / "broker.key")
        site.listen, site.more = site.ends["next"], ()
        joined = len(gateway.events("broker_joined"))
        site.start()
        self.assertEqual(site.key.decode(), new_key)
        gateway.wait_event("broker_joined", joined + 1)
        self.worker(site)  # from its state folder alone


if __name__ == "__main__":
    unittest.main()
