"""Elements picked, put, ordered, summed and generated."""
import numpy as np

from op_graph import F, I, Graph, one


def numbers(name, *shape, dtype=np.float32):
    """Small whole numbers: sums are exact, and there are ties."""
    return Graph("data", name).random.integers(-4, 5, shape).astype(dtype)


def real(name, *shape):
    return Graph("data", name).rand(*shape)


def picks():
    x = real("picks", 3, 4, 5)
    one("data", "gather_elements_axis_1_and_negative", "GatherElements",
        {"x": x, "i": np.array([[[0, -1, 3, 1, 2]], [[1, 1, -4, 0, 2]], [[3, 2, 1, 0, -2]]], I)}, axis=1)
    one("data", "gather_elements_last_axis", "GatherElements",
        {"x": x, "i": np.array([[[4, -5], [1, 0]]] * 3, np.int32)}, axis=-1)
    one("data", "gather_nd_slices", "GatherND", {"x": x, "i": np.array([[0, -1], [2, 1]], I)}, consts=("i",))
    one("data", "gather_nd_batch_dims", "GatherND", {"x": x, "i": np.array([[1], [-4], [3]], I)}, batch_dims=1)
    for how in ("none", "add", "mul", "max", "min"):
        more = {} if how == "none" else {"reduction": how}
        one("data", f"scatter_elements_{how}", "ScatterElements",
            {"x": x, "i": np.array([[[0, 1, 1, 3, -1]]] * 3, I)[:, [0]], "u": real("u", 3, 1, 5)}, 18, axis=1, **more)
        one("data", f"scatter_nd_{how}", "ScatterND",
            {"x": x, "i": np.array([[1, 0], [1, 0], [-1, 2]], I), "u": real("v", 3, 5)}, 18, consts=("i",), **more)
    one("data", "scatter_elements_int8_add", "ScatterElements",
        {"x": numbers("s8", 2, 6, dtype=np.int32), "i": np.array([[0, 0], [5, 1]], I),
         "u": numbers("s8u", 2, 2, dtype=np.int32)}, 18, axis=1, reduction="add")
    for axis in (0, 1, -1):
        one("data", f"one_hot_axis_{axis}", "OneHot",
            {"i": np.array([[0, 2, -1], [1, 5, -4]], I), "depth_": I(4), "values": np.array([0.5, 2], F)},
            consts=("depth_", "values"), axis=axis)
    one("data", "compress_axis", "Compress", {"x": x, "c": np.array([True, False, True])}, consts=("c",), axis=1)
    one("data", "compress_flat", "Compress", {"x": x, "c": np.arange(60) % 7 == 0}, consts=("c",))
    one("data", "non_zero", "NonZero", {"x": numbers("nz", 3, 4)})
    one("data", "reverse_sequence_batch_first", "ReverseSequence",
        {"x": real("rs", 3, 5, 2), "n": np.array([5, 0, 3], I)}, batch_axis=0, time_axis=1)
    one("data", "reverse_sequence_time_first", "ReverseSequence",
        {"x": real("rs", 5, 3), "n": np.array([1, 5, 2], I)}, consts=("n",))
    one("data", "tile", "Tile", {"x": x, "r": np.array([1, 2, 3], I)}, consts=("r",))
    one("data", "tile_by_zero", "Tile", {"x": x, "r": np.array([1, 0, 2], I)}, consts=("r",))
    for k in (-7, -1, 0, 2, 9):
        one("data", f"triu_{k}", "Trilu", {"x": x, "k_": I(k)}, consts=("k_",))
        one("data", f"tril_{k}", "Trilu", {"x": x, "k_": I(k)}, consts=("k_",), upper=0)


def orders():
    for largest in (0, 1):
        for axis in (0, 1, -1):
            one("data", f"topk_ties_largest_{largest}_axis_{axis}", "TopK",
                {"x": numbers(f"tk{axis}", 4, 6, 5), "k": np.array([3], I)}, consts=("k",), outputs=("y", "at"),
                axis=axis, largest=largest)
    one("data", "topk_int64_all", "TopK", {"x": numbers("tki", 3, 7, dtype=I), "k": np.array([7], I)},
        consts=("k",), outputs=("y", "at"))
    one("data", "topk_k_of_the_run", "TopK", {"x": real("tkr", 3, 7), "k": np.array([2], I)},
        outputs=("y", "at"), fixed=True)
    for more in ({}, {"axis": 0}, {"axis": 1}, {"sorted": 0}, {"sorted": 0, "axis": -1}):
        name = "_".join(f"{k}_{v}" for k, v in more.items()) or "flat"
        one("data", f"unique_{name}", "Unique", {"x": np.repeat(numbers("un", 4, 3), 2, axis=1)[[0, 1, 0, 3]]},
            outputs=("y", "first", "inverse", "counts"), **more)
    boxes = np.sort(Graph("data", "nms").random.random((2, 12, 2, 2)).astype(F), axis=2).reshape(2, 12, 4)
    scores = Graph("data", "nms scores").random.random((2, 3, 12)).astype(F)
    for name, center in (("corners", 0), ("centers", 1)):
        one("data", f"nms_{name}", "NonMaxSuppression",
            {"b": boxes, "s": scores, "n": np.array([4], I), "iou": np.array([0.3], F), "low": np.array([0.2], F)},
            consts=("n", "iou", "low"), center_point_box=center)
    one("data", "nms_defaults_take_none", "NonMaxSuppression", {"b": boxes, "s": scores})


def sums():
    x = real("sums", 3, 4, 5)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
               "ReduceSumSquare", "ReduceLogSumExp"):
        one("data", f"{op}_middle", op, {"x": x, "a": np.array([1], I)}, 18, consts=("a",))
        one("data", f"{op}_two_dropped", op, {"x": x, "a": np.array([-1, 1], I)}, 18, consts=("a",), keepdims=0)
        one("data", f"{op}_int32", op, {"x": numbers(op, 3, 4, 5, dtype=np.int32), "a": np.array([2], I)}, 18,
            consts=("a",))
    one("data", "ReduceLogSum", "ReduceLogSum", {"x": np.abs(x) + F(0.1), "a": np.array([1], I)}, 18, consts=("a",))
    one("data", "ReduceSum_fp64_all", "ReduceSum", {"x": x.astype(np.float64)}, 13, keepdims=0)
    one("data", "ReduceLogSumExp_large", "ReduceLogSumExp", {"x": x * F(500), "a": np.array([2], I)}, 18, consts=("a",))
    one("data", "ReduceMax_over_rows", "ReduceMax", {"x": x, "a": np.array([0], I)}, 18, consts=("a",))
    for exclusive in (0, 1):
        for reverse in (0, 1):
            one("data", f"cumsum_{exclusive}{reverse}", "CumSum", {"x": x, "a_": I(1)}, consts=("a_",),
                exclusive=exclusive, reverse=reverse)
    one("data", "cumsum_over_rows", "CumSum", {"x": x, "a_": I(0)}, consts=("a_",))
    one("data", "hardmax_middle", "Hardmax", {"x": numbers("hm", 3, 4, 5)}, axis=1)
    one("data", "hardmax_opset_11", "Hardmax", {"x": numbers("hm", 3, 4, 5)}, 11, axis=1)
    for equation, shapes in {
        "bij,bjk->bik": [(3, 2, 4), (3, 4, 5)], "...ij,...jk->...ik": [(3, 2, 2, 4), (1, 2, 4, 5)],
        "ii->i": [(4, 4)], "bii": [(3, 4, 4)], "ij->ji": [(3, 4)], "bhqd,bkhd->bhqk": [(3, 2, 4, 5), (3, 6, 2, 5)],
        "i,j->ij": [(3,), (4,)], "ab,bc,cd->ad": [(3, 2), (2, 4), (4, 5)],
    }.items():
        names = "xyz"
        one("data", f"einsum {equation}", "Einsum",
            {names[i]: real(f"{equation}{i}", *shape) for i, shape in enumerate(shapes)},
            equation=equation, outputs=("o",), fixed=True)
    for op, kind in (("Mod", {}), ("Mod", {"fmod": 1})):
        one("data", f"mod_{len(kind)}_int32", op, {"x": numbers("mod", 3, 8, dtype=np.int32) * 3,
                                                   "w": np.array([3, -3, 5, -5, 7, -7, 2, 9], np.int32)},
            consts=("w",), **kind)
    one("data", "mod_float", "Mod", {"x": 5 * real("modf", 3, 4), "w": np.array([1.5, -2, 3, 0.7], F)},
        consts=("w",), fmod=1)
    for where in ("LEFT", "RIGHT"):
        one("data", f"bitshift_{where}", "BitShift", {"x": np.array([[200, 3, 16]] * 3, np.uint8),
                                                     "n": np.array([1, 7, 4], np.uint8)}, consts=("n",), direction=where)
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        one("data", op, op, {"x": numbers(op, 3, 4, dtype=np.int32), "w": numbers(op + "w", 4, dtype=np.int32)}, 18,
            consts=("w",))
    one("data", "BitwiseNot", "BitwiseNot", {"x": numbers("not", 3, 4, dtype=np.uint8)}, 18)


def spectra():
    for n in (8, 12, 7):
        one("data", f"dft_{n}", "DFT", {"x": real(f"dft{n}", 2, n, 1)}, axis=1)
        one("data", f"dft_onesided_{n}", "DFT", {"x": real(f"dft{n}", 2, n, 1)}, axis=1, onesided=1)
        one("data", f"dft_inverse_{n}", "DFT", {"x": real(f"dfti{n}", 2, n, 2)}, axis=1, inverse=1)
    one("data", "stft", "STFT", {"x": real("stft", 2, 64, 1), "s_": I(8), "w": np.hanning(16).astype(F)},
        consts=("s_", "w"))
    one("data", "eye_like", "EyeLike", {"x": real("eye", 4, 6)}, k=-1, dtype=7, fixed=True)
    one("data", "det", "Det", {"x": real("det", 3, 5, 5)})
    g = Graph("data", "range_of_the_length")
    g.input("x", g.rand(3, 6))
    g.const("one", I(1))
    g.const("zero", I(0))
    g.node("Shape", ["x"], ["s"], start=1)
    g.node("Squeeze", ["s"], ["n"])
    g.node("Range", ["zero", "n", "one"], ["r"])
    g.node("Cast", ["r"], ["c"], to=1)
    g.node("Add", ["x", "c"])
    g.done()


def make():
    picks()
    orders()
    sums()
    spectra()
