"""RNN, GRU and LSTM: every combination of direction, initial state, sequence_lens and layout is a case; its
model has one node for every combination of activations, clip and what the cell has of its own
(linear_before_reset, peepholes, input_forget). Their outputs are joined along the features.

onnxruntime, the oracle, knows layout 0 only: for layout 1 it gets the same model with Transposes around
nodes of layout 0."""
import itertools

import numpy as np

from op_graph import Graph

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
OWN = {"RNN": [{}], "GRU": [{"linear_before_reset": v} for v in (0, 1)],
       "LSTM": [{"peephole": p, "input_forget": f} for p in (0, 1) for f in (0, 1)]}
ACTIVATIONS = {
    "RNN": {"activations": ["Affine"], "activation_alpha": [0.7], "activation_beta": [0.1]},
    "GRU": {"activations": ["HardSigmoid", "LeakyRelu"], "activation_alpha": [0.3, 0.05], "activation_beta": [0.4]},
    "LSTM": {"activations": ["HardSigmoid", "ScaledTanh", "Elu"], "activation_alpha": [0.3, 0.9, 0.6],
             "activation_beta": [0.4, 1.1]},
}
STEPS, ROWS, FEATURES, HIDDEN = 4, 3, 2, 3
STATE_PERM, Y_PERM = [1, 0, 2], [2, 0, 1, 3]  # of layout 0 into layout 1; the first is its own inverse
F = np.float32


def options(cell, dirs):
    for activations, clip, own in itertools.product((0, 1), (0, 1), OWN[cell]):
        attributes = dict(own)
        if activations:
            attributes |= {k: v * dirs for k, v in ACTIVATIONS[cell].items()}
        if clip:
            attributes["clip"] = 0.35
        yield attributes


def build(cell, direction, initial, lens, layout, by_transposes=False):
    """The case's model; by_transposes: layout 1 as the oracle knows it. Same names, same random numbers."""
    words = [cell, direction, "initial state" if initial else "", "lengths" if lens else "", f"layout {layout}"]
    g = Graph("recurrent_all", ", ".join(w for w in words if w))
    dirs, gates = 2 if direction == "bidirectional" else 1, GATES[cell]

    def states(*dims):
        return dims if not layout else (dims[1], dims[0], dims[2])

    given = {"x": g.input("x", g.rand(*states(STEPS, ROWS, FEATURES)), fixed=not layout)}
    given["lens"] = g.input("lens", np.array([4, 2, 1], np.int32), fixed=not layout) if lens else ""
    for name in ("h", "c")[:2 if cell == "LSTM" else 1]:
        given[name] = g.input(name, g.rand(*states(dirs, ROWS, HIDDEN)), fixed=not layout) if initial else ""
    weights = [g.const(name, g.rand(*dims) * F(0.6)) for name, dims in (
        ("w", (dirs, gates * HIDDEN, FEATURES)), ("r", (dirs, gates * HIDDEN, HIDDEN)), ("b", (dirs, 2 * gates * HIDDEN)))]
    peephole = g.const("p", g.rand(dirs, 3 * HIDDEN)) if cell == "LSTM" else ""
    if by_transposes:
        for name in ("x", "h", "c"):
            if given.get(name):
                given[name] = g.node("Transpose", [given[name]], [name + "_t"], perm=STATE_PERM)
    outputs = ("y", "yh", "yc")[:3 if cell == "LSTM" else 2]
    made = {o: [] for o in outputs}
    for i, attributes in enumerate(options(cell, dirs)):
        peeps = attributes.pop("peephole", 0)
        if layout and not by_transposes:
            attributes["layout"] = 1
        inputs = [given["x"], *weights, given["lens"], given["h"]]
        if cell == "LSTM":
            inputs += [given["c"], peephole if peeps else ""]
        names = [f"{o}{i}" for o in outputs]
        g.node(cell, inputs, names, hidden_size=HIDDEN, direction=direction, **attributes)
        for output, name in zip(outputs, names):
            if by_transposes:
                name = g.node("Transpose", [name], [name + "_t"], perm=Y_PERM if output == "y" else STATE_PERM)
            made[output].append(name)
    for output in outputs:
        g.node("Concat", made[output], [output], axis=-1)
    return g, outputs


def make():
    choices = (("forward", "reverse", "bidirectional"), (0, 1), (0, 1), (0, 1))
    for cell, (direction, initial, lens, layout) in itertools.product(GATES, itertools.product(*choices)):
        case = (cell, direction, initial, lens, layout)
        g, outputs = build(*case)
        g.done(*outputs, oracle_graph=build(*case, by_transposes=True)[0] if layout else None)
