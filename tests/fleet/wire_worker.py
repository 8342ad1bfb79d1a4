"""A worker in Python, made from common/PROTOCOL.md alone: it does with tasks what a test says."""
import hashlib
import time

from wire import STATUS, Peer, ids, one_set, pack_tensors, unpack_tensors


class Worker(Peer):
    """Takes tasks within its credit and keeps them; lists in HELD what it is told to list."""

    def __init__(self, control, models=(), slots=1, name="python", mode="avx2/fast", **more):
        super().__init__(control, role=2, NAME=name, CORES=1, MEMORY=1 << 30, SLOTS=slots,
                         MODES=[{"MODE": mode}], MODELS=[{"MODEL": model} for model in models],
                         HELD=[], **more)
        self.mode = mode
        self.models = models
        self.listing = True   # name what we hold in HEARTBEAT
        self.held = {}        # (gateway, number): (fields of the DISPATCH, its TASK, frames)
        self.revoked = set()
        self.acknowledged = set()

    def give_credit(self, tasks, octets=1 << 30):
        self.send("CREDIT", {"CREDIT_TASKS": tasks, "CREDIT_BYTES": octets})

    def heartbeat(self):
        by_gateway = {}
        for gateway, number in self.held if self.listing else ():
            by_gateway.setdefault(gateway, []).append(number)
        return {"HELD": [one_set(gateway, numbers) for gateway, numbers in by_gateway.items()],
                "RUNNING": len(self.held), "WAITING": 0, "TICKS": time.monotonic_ns(),
                "MODELS": [{"MODEL": model} for model in self.models]}

    def on_dispatch(self, fields, bodies):
        at = 0
        for task in fields["TASKS"]:
            frames = bodies[at:at + task["FRAMES"]]
            at += task["FRAMES"]
            self.held[task["GATEWAY"], task["TASK"]] = (fields, task, frames)

    def forget(self, into):
        def take(fields, _):
            for key in ids(fields):
                self.held.pop(key, None)
                into.add(key)
        return take

    def handle(self, name, fields, bodies):
        handlers = {"DISPATCH": self.on_dispatch, "REVOKE": self.forget(self.revoked),
                    "RESULT_ACK": self.forget(self.acknowledged), "HEARTBEAT": lambda *_: None}
        if name not in handlers:
            return False
        handlers[name](fields, bodies)
        return True

    def wait_task(self, timeout=30.0):
        """The key of a task that is held and was not started."""
        end = time.monotonic() + timeout
        while not self.held:
            if time.monotonic() > end:
                raise AssertionError(f"no DISPATCH after {timeout} s")
            self.pump(0.05)
        return next(iter(self.held))

    def start(self, key):
        self.send("STARTED", {"IDS": [one_set(key[0], [key[1]])]})

    def answer(self, key, outputs, status="OK", rows=None):
        """RESULT of a task that is held; it stays held until it is acknowledged."""
        fields, task, _ = self.held[key]
        spec, frames = pack_tensors(outputs)
        self.send("RESULT", {
            "GATEWAY": key[0], "WORKER": self.uuid, "MODEL": fields["MODEL"], "MODE": self.mode,
            "TASKS": [{"TASK": key[1], "STATUS": STATUS[status], "ATTEMPT": task.get("ATTEMPT", 0),
                       "ROWS": rows or task.get("ROWS", 0), "FRAMES": len(frames), "SPEC": spec,
                       "BYTES": sum(map(len, frames)), "COMPUTE_NS": 1000, "QUEUE_NS": 0,
                       "DIGEST": hashlib.blake2b(b"".join(frames), digest_size=32).digest()}]},
            frames)

    def inputs(self, key):
        """{name: array} of a task that is held."""
        _, task, frames = self.held[key]
        return unpack_tensors(task["SPEC"], frames)
