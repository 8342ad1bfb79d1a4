"""The hosts that the other tests stand on share a network and nothing else, and can be heard."""
import socket
import unittest

from hosts import PATIENCE_S, Network

WORDS = b"in clear on the wire"


class Hosts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        network = cls.enterClassContext(Network())
        cls.first, cls.second = network.host("first"), network.host("second")

    def talk(self, listener, address, speaker):
        with listener.entered():
            server = socket.create_server((address, 0))
        with server:
            with speaker.entered():
                client = socket.create_connection(server.getsockname(), PATIENCE_S)
            heard, _ = server.accept()
            with client, heard:
                client.sendall(WORDS)
                return heard.recv(100)

    def test_hosts_reach_each_other_by_address_and_not_by_loopback(self):
        self.assertEqual(self.talk(self.first, self.first.address, self.second), WORDS)
        self.assertEqual(self.talk(self.second, "127.0.0.1", self.second), WORDS)
        with self.assertRaises(ConnectionRefusedError):
            self.talk(self.first, "127.0.0.1", self.second)

    def test_a_host_has_a_home_and_an_interface_of_its_own(self):
        homes = {host.run(["sh", "-c", "echo $HOME"]).stdout for host in (self.first, self.second)}
        self.assertEqual(len(homes), 2)
        listing = self.second.run(["ip", "-brief", "address"]).stdout
        self.assertIn(self.second.address, listing)
        self.assertEqual(len(listing.splitlines()), 2, listing)  # lo and eth0

    def test_a_capture_has_what_passed_until_its_end(self):
        path = self.first.folder / "talk.pcap"
        with self.first.capture(path):
            self.talk(self.first, self.first.address, self.second)
        self.assertIn(WORDS, path.read_bytes())
        with self.first.capture(path):
            self.talk(self.second, "127.0.0.1", self.second)  # passes no wire
        self.assertNotIn(WORDS, path.read_bytes())


if __name__ == "__main__":
    unittest.main()
