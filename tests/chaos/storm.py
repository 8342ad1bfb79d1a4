"""Connections by the hundred that mean no good: opened and dropped, with octets that mean nothing."""
import contextlib
import socket
import struct

CONNECTIONS = 200
OPEN_MAX = 50  # at a time
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15)  # how a ZMTP peer begins
BEGINNINGS = (b"", GREETING, b"POST /v2/models/x/infer HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n",
              b"GET / HTTP/1.1\r\nHost: " + b"a" * 4000, b"\x16\x03\x01\x02\x00")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


def storm(addresses, chance, connections=CONNECTIONS):
    """Open so many connections to these (host, port), say something, leave: politely or not."""
    opened = []
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            peer = stack.enter_context(socket.socket())
            peer.settimeout(1.0)
            opened.append(peer)
            with contextlib.suppress(OSError):  # refused, cut off: as it may be
                if chance.random() < 0.5:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                peer.connect(chance.choice(addresses))
                peer.send(chance.choice(BEGINNINGS) + chance.randbytes(chance.randrange(300)))
            if len(opened) > OPEN_MAX:
                opened.pop(chance.randrange(len(opened))).close()
