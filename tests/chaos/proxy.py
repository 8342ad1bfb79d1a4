"""A TCP proxy that cuts its connections at chosen bytes, in the middle of whatever travels there.

    with Proxy(("127.0.0.3", port), ("127.0.0.1", port)) as proxy:
        proxy.start_cutting(iter([300, 17, 4096]))
        ...
        proxy.cut       # so many connections were cut so far

From start_cutting() on each connection, those that are there and new ones, takes the next of the
numbers and is reset, at both ends, after so many octets of both directions together; when there are
no more numbers, the later ones are left alone.
"""
import contextlib
import selectors
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
PIECE = 65536
TICK_S = 0.1


class Pipe:
    """One connection: its two ends, and how many octets may still pass."""

    def __init__(self, near, far, left):
        self.ends, self.left = {near: far, far: near}, left


class Proxy(contextlib.AbstractContextManager):
    def __init__(self, listen, target):
        self.target, self.cuts, self.cut = target, iter(()), 0
        self.over = threading.Event()
        self.selector = selectors.DefaultSelector()
        self.server = socket.create_server(listen)
        self.selector.register(self.server, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def start_cutting(self, cuts):
        self.cuts = cuts
        for key in list(self.selector.get_map().values()):
            if key.data and key.data.left is None:
                key.data.left = next(cuts, None)

    def run(self):
        while not self.over.is_set():
            for key, _ in self.selector.select(TICK_S):
                if key.fileobj is self.server:
                    self.accept()
                elif key.fileobj.fileno() >= 0:  # not closed with its other end just now
                    self.carry(key.fileobj, key.data)

    def accept(self):
        near, _ = self.server.accept()
        try:
            far = socket.create_connection(self.target, TICK_S)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        pipe = Pipe(near, far, next(self.cuts, None))
        for end in pipe.ends:
            self.selector.register(end, selectors.EVENT_READ, pipe)

    def carry(self, source, pipe):
        size = PIECE if pipe.left is None else min(PIECE, pipe.left)
        try:
            data = source.recv(size)
            pipe.ends[source].sendall(data)
        except OSError:
            data = b""
        if not data:
            self.end(pipe)
        elif pipe.left is not None:
            pipe.left -= len(data)
            if not pipe.left:
                self.cut += 1
                self.end(pipe, reset=True)

    def end(self, pipe, reset=False):
        for end in pipe.ends:
            self.selector.unregister(end)
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.close()

    def __exit__(self, kind, error, trace):
        self.over.set()
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
