"""Cases of Attention and RotaryEmbedding: heads, masks, caches, windows; see make_op_cases.py."""
import numpy as np

from op_graph import F, Graph, I


def attention(name, q, k, v, mask=None, past=None, valid=None, opset=23, outputs=("y",), **attributes):
    """q, k, v, past: shapes; mask: an array, which stays the same for all rows unless it has rank 4."""
    g = Graph("attention", name, opset)
    g.reference = True  # onnxruntime takes fewer masks, and has another order of softcap and mask
    names = [g.input(n, g.rand(*s)) for n, s in (("q", q), ("k", k), ("v", v))]
    if mask is None:
        names.append("")
    else:
        names.append(g.input("mask", mask) if mask.ndim == 4 else g.const("mask", mask))
    names += [g.input("pk", g.rand(*past[0])), g.input("pv", g.rand(*past[1]))] if past else ["", ""]
    if valid is not None:
        names.append(g.input("valid", np.array(valid, I)))
    while not names[-1]:
        names.pop()
    g.node("Attention", names, outputs, **attributes)
    g.done(*[o for o in outputs if o])


R = np.random.default_rng(23)
FOUR = (2, 2, 5, 4), (2, 2, 6, 4), (2, 2, 6, 3)
THREE = (2, 5, 8), (2, 6, 8), (2, 6, 6)
HEADS = {"q_num_heads": 2, "kv_num_heads": 2}


def mask_of(*shape):
    """Some keys closed, the first one open."""
    m = R.random(shape) < 0.6
    m[..., 0] = True
    return m


def attention_cases():
    attention("rank 4", *FOUR)
    attention("rank 3", *THREE, **HEADS)
    attention("many queries, keys and threads", (1, 4, 70, 4), (1, 4, 90, 4), (1, 4, 90, 4))
    attention("one query", (3, 2, 1, 8), (3, 2, 33, 8), (3, 2, 33, 8))
    attention("scale 0.3", *FOUR, scale=0.3)
    attention("softcap 0.7", *FOUR, softcap=0.7)
    attention("causal", *FOUR, is_causal=1)
    attention("causal, rank 3", *THREE, is_causal=1, **HEADS)
    attention("grouped heads", (2, 6, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4))
    attention("grouped heads, rank 3", (2, 5, 24), (2, 6, 8), (2, 6, 8), q_num_heads=6, kv_num_heads=2)
    attention("one head for all", (2, 6, 5, 4), (2, 1, 6, 4), (2, 1, 6, 5), is_causal=1)
    for kind in ("bool", "float"):
        for shape in ((5, 6), (2, 5, 6), (1, 5, 6), (2, 1, 5, 6), (2, 2, 5, 6), (1, 6)):
            mask = mask_of(*shape) if kind == "bool" else R.standard_normal(shape).astype(F)
            attention(f"mask {kind} {shape}", *FOUR, mask=mask)
    attention("mask bool, causal", *FOUR, mask=mask_of(5, 6), is_causal=1)
    attention("mask float, causal, softcap", *FOUR, mask=R.standard_normal((5, 6)).astype(F), is_causal=1, softcap=2.0)
    attention("softmax_precision", *FOUR, softmax_precision=1)


def cache_cases():
    past = (2, 2, 3, 4), (2, 2, 3, 3)
    every = ("y", "pk2", "pv2")
    attention("cache", *FOUR, past=past, outputs=every)
    attention("cache, causal", *FOUR, past=past, outputs=every, is_causal=1)
    attention("cache, rank 3", *THREE, past=past, outputs=every, **HEADS)
    attention("cache, present values are not asked for", *FOUR, past=past, outputs=("y", "pk2"))
    attention("cache that is not handed on, mask", *FOUR, past=past, mask=mask_of(5, 9))
    attention("present without past", *THREE, outputs=every, **HEADS)


def scores_cases():
    for stage in range(4):
        for more in ({}, {"is_causal": 1}) if stage else ({},):
            attention(f"scores of stage {stage}, {more}", *FOUR, outputs=("y", "", "", "scores"),
                      mask=R.standard_normal((5, 6)).astype(F), qk_matmul_output_mode=stage, **more)
    attention("scores after softcap", *FOUR, outputs=("y", "", "", "scores"), qk_matmul_output_mode=1, softcap=1.5)


def newer_cases():
    attention("keys in use differ from row to row", *FOUR, valid=[6, 2], opset=24)
    attention("keys in use, causal", *FOUR, valid=[6, 5], opset=24, is_causal=1)
    attention("mask with fewer keys", *FOUR, mask=mask_of(5, 4), opset=24)
    attention("window", *FOUR, opset=25, left_window_size=2, right_window_size=1)
    attention("window, causal, cache", *FOUR, past=((2, 2, 2, 4), (2, 2, 2, 3)), opset=25, left_window_size=1,
              is_causal=1, outputs=("y", "pk2", "pv2"))
    closed = mask_of(5, 6)
    closed[2] = False
    attention("a query with all keys closed", *FOUR, mask=closed, opset=25)


def rotary(name, x, half, ids=None, rows=9, **attributes):
    g = Graph("attention", f"RotaryEmbedding {name}", 23)
    tokens = x[1] if len(x) == 3 else x[2]
    names = [g.input("x", g.rand(*x))]
    shape = (x[0], tokens, half) if ids is None else (rows, half)
    put = g.input if ids is None else g.const
    angles = g.rand(*shape)
    names += [put("cos", np.cos(angles)), put("sin", np.sin(angles))]
    if ids is not None:
        names.append(g.input("ids", np.array(ids, I)))
    g.node("RotaryEmbedding", names, **attributes)
    g.done()


def rotary_cases():
    ids = R.integers(0, 9, (2, 3))
    for interleaved in (0, 1):
        rotary(f"rank 4, interleaved {interleaved}", (2, 4, 3, 8), 4, ids, interleaved=interleaved)
        rotary(f"rank 3, interleaved {interleaved}", (2, 3, 32), 4, ids, interleaved=interleaved, num_heads=4)
        rotary(f"no positions, interleaved {interleaved}", (2, 4, 3, 8), 4, interleaved=interleaved)
        rotary(f"a part, interleaved {interleaved}", (2, 4, 3, 8), 2, ids, interleaved=interleaved,
               rotary_embedding_dim=4, num_heads=4)
    rotary("no positions, rank 3, a part", (2, 3, 32), 3, rotary_embedding_dim=6, num_heads=4)


def make():
    attention_cases()
    cache_cases()
    scores_cases()
    newer_cases()
    rotary_cases()
