"""A broker with CURVE on, and peers in Python (wire.py) with whatever keys a test wants them to have.

    site = Site(self)                        # the broker; the gateway `site.owner` may always come in
    gateway = site.gateway()
    site.tell(gateway, node.node(), ...)     # the registry of nodes that it pushes
    site.peer(node).open()
"""
import hashlib
import pathlib
import sys

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "fleet"))
from harness import BIN, PATIENCE_S, Fleet, free_port, until  # noqa: E402
from wire import Gateway, Peer  # noqa: E402

GATEWAY, WORKER = 1, 2
MEMBER, REVOKED, DRAINING = 1, 2, 3


def fingerprint(public):
    digits = hashlib.blake2b(z85.decode(public), digest_size=32).hexdigest()[:16]
    return ":".join(digits[i:i + 4] for i in range(0, 16, 4))


class Keys:
    def __init__(self, name, role=WORKER):
        self.public, self.secret = zmq.curve_keypair()
        self.name, self.role = name, role
        self.print = fingerprint(self.public)

    def node(self, standing=MEMBER):
        return {"PUBLIC": z85.decode(self.public), "ROLE": self.role, "STANDING": standing,
                "NAME": self.name}


class Site:
    """A broker with CURVE on, and the gateway that may always come in."""

    def __init__(self, case, *more, environment=None, gateway=None):
        self.case = case
        self.fleet = case.enterContext(Fleet(()))
        self.owner = gateway or Keys("owner", GATEWAY)
        self.environment = environment
        self.more = more
        self.version = 0
        self.listen = "tcp://127.0.0.1:0"
        self.start()

    def start(self):
        ports = []
        if not self.listen.endswith(":0"):  # again: the ports behind it may be others' by now
            ports = ["--data-port", free_port(), "--enrol-listen", "tcp://127.0.0.1:0"]
        self.broker = self.fleet.start("broker", [
            BIN / "convoy-broker", "--listen", self.listen, "--curve", "on",
            "--state", self.fleet.folder / "state", "--gateway-keys", self.owner.public.decode(),
            *ports, *self.more], self.environment)
        self.ends = self.broker.endpoints()
        self.key = (self.fleet.folder / "state/broker.key").read_text().split()[1].encode()

    def keys(self, of):
        return (self.key, of.public, of.secret)

    def gateway(self, of=None):
        gateway = Gateway(self.ends["control"], keys=self.keys(of or self.owner))
        gateway.open()
        self.case.addCleanup(gateway.close)
        return gateway

    def peer(self, of, role=None, **hello):
        more = {"SLOTS": 1, "CORES": 1} if (role or of.role) == WORKER else {}
        peer = Peer(self.ends["control"], role or of.role, keys=self.keys(of), NAME="python",
                    **more, **hello)
        self.case.addCleanup(peer.close)
        return peer

    def tell(self, gateway, *nodes, parts=1):
        """Push a registry of these nodes; returns once the broker has it."""
        self.version += 1
        for part in range(parts):
            gateway.send("NODES", {"REGISTRY": self.version, "PART": part + 1, "PARTS": parts,
                                   "NODES": list(nodes[part::parts])})
        gateway.expect("NODES_ACK", lambda fields: fields["REGISTRY"] == self.version)

    def dial(self, socket, of=None, server_key=None):
        """A DEALER to this port and its monitor; without keys when `of` is None."""
        dealer = zmq.Context.instance().socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        if of:
            dealer.curve_serverkey = server_key or self.key
            dealer.curve_publickey, dealer.curve_secretkey = of.public, of.secret
        monitor = dealer.get_monitor_socket()
        dealer.connect(self.ends[socket])
        self.case.addCleanup(end_watched, dealer, monitor)
        return dealer, monitor

    def refusals(self, **fields):
        return [line for line in self.broker.events("peer_refused")
                if all(line.get(name) == value for name, value in fields.items())]

    def wait_refusal(self, **fields):
        found = until(f"a refusal of {fields}", lambda: self.refusals(**fields))
        return found[0]


def end_watched(dealer, monitor):
    """In this order: libzmq's I/O thread waits for whoever reads a monitor that still watches."""
    dealer.monitor(None, 0)
    dealer.close(linger=0)
    monitor.close()


def outcome(monitor):
    """What a handshake came to: "in", "refused" or "failed"."""
    names = {zmq.EVENT_HANDSHAKE_SUCCEEDED: "in", zmq.EVENT_HANDSHAKE_FAILED_AUTH: "refused",
             zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "failed",
             zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "failed"}
    while monitor.poll(PATIENCE_S * 1000):
        event = recv_monitor_message(monitor)["event"]
        if event in names:
            return names[event]
    raise AssertionError("no handshake at all")
