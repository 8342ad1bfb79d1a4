"""Patterns that the engine replaces by one operator, as exporters write them, and near misses."""
import numpy as np

from op_graph import F, Graph, I


def erf_gelu(g, x, form):
    g.const("r", F(1.4142135381698608))
    g.const("one", F(1))
    g.const("half", F(0.5))
    g.node("Div", [x, "r"], ["d"])
    g.node("Erf", ["d"], ["e"])
    g.node("Add", ["e", "one"], ["a"])
    if form == "x_first":
        g.node("Mul", [x, "a"], ["m"])
        g.node("Mul", ["m", "half"], ["y"])
    elif form == "half_first":
        g.node("Mul", ["half", x], ["m"])
        g.node("Mul", ["m", "a"], ["y"])
    else:
        g.node("Mul", ["a", "half"], ["m"])
        g.node("Mul", ["m", x], ["y"])


def tanh_gelu(g, x, power):
    g.const("k", F(0.044715))
    g.const("s", F(0.7978845608))
    g.const("one", F(1))
    g.const("half", F(0.5))
    g.const("three", F(3))
    if power:
        g.node("Pow", [x, "three"], ["c"])
    else:
        g.node("Mul", [x, x], ["q"])
        g.node("Mul", ["q", x], ["c"])
    g.node("Mul", ["k", "c"], ["kc"])
    g.node("Add", [x, "kc"], ["sum"])
    g.node("Mul", ["sum", "s"], ["in"])
    g.node("Tanh", ["in"], ["t"])
    g.node("Add", ["one", "t"], ["a"])
    g.node("Mul", [x, "a"], ["m"])
    g.node("Mul", ["m", "half"], ["y"])


def layer_norm(g, x, width, square="Pow", divide="Div", bias=True, gain=True, axes_input=False, subtract_twice=False):
    def mean(of, to):
        if axes_input:
            g.node("ReduceMean", [of, "axes"], [to])
        else:
            g.node("ReduceMean", [of], [to], axes=[-1])
    if axes_input:
        g.const("axes", np.array([-1], I))
    g.const("eps", F(1e-5))
    g.const("two", F(2))
    g.const("g", g.rand(width))
    g.const("b", g.rand(width))
    mean(x, "mean")
    g.node("Sub", [x, "mean"], ["d"])
    d = "d"
    if subtract_twice:
        g.node("Sub", [x, "mean"], ["d2"])
        d = "d2"
    g.node(square, [d, "two"] if square == "Pow" else [d, d], ["sq"])
    mean("sq", "var")
    g.node("Add", ["var", "eps"], ["ve"])
    g.node("Sqrt", ["ve"], ["sd"])
    if divide == "Div":
        g.node("Div", ["d", "sd"], ["n"])
    else:
        g.node("Reciprocal", ["sd"], ["inv"])
        g.node("Mul", ["d", "inv"], ["n"])
    last = "n"
    if gain:
        g.node("Mul", ["g", "n"], ["y" if not bias else "gn"])
        last = "gn"
    if bias:
        g.node("Add", [last, "b"], ["y"])
    elif not gain:
        g.node("Identity", ["n"], ["y"])


def products():
    for form in ("x_first", "half_first", "half_inside"):
        g = Graph("fusion", f"gelu_erf_{form}")
        g.input("x", 2 * g.rand(3, 4, 10))
        erf_gelu(g, "x", form)
        g.done()
    for power in (False, True):
        g = Graph("fusion", f"gelu_tanh_{'pow' if power else 'mul'}")
        g.input("x", 2 * g.rand(3, 10))
        tanh_gelu(g, "x", power)
        g.done()
    g = Graph("fusion", "silu")
    g.input("x", 3 * g.rand(2, 5, 3, 3))
    g.const("w", g.rand(6, 5, 1, 1))
    g.node("Conv", ["x", "w"], ["c"])
    g.node("Sigmoid", ["c"], ["s"])
    g.node("Mul", ["s", "c"])
    g.done()
    g = Graph("fusion", "hard_swish_by_hard_sigmoid")
    g.input("x", 4 * g.rand(3, 20))
    g.node("HardSigmoid", ["x"], ["s"], alpha=1 / 6, beta=0.5)
    g.node("Mul", ["x", "s"])
    g.done()
    g = Graph("fusion", "hard_swish_by_clip", 12)
    g.input("x", 4 * g.rand(3, 20))
    for name, value in (("three", 3), ("zero", 0), ("six", 6)):
        g.const(name, F(value))
    g.node("Add", ["x", "three"], ["a"])
    g.node("Clip", ["a", "zero", "six"], ["c"])
    g.node("Mul", ["x", "c"], ["m"])
    g.node("Div", ["m", "six"])
    g.done()
    g = Graph("fusion", "mish")
    g.input("x", 4 * g.rand(3, 20))
    g.node("Softplus", ["x"], ["s"])
    g.node("Tanh", ["s"], ["t"])
    g.node("Mul", ["x", "t"])
    g.done()


def norms():
    for name, more in {
        "pow_div": {}, "mul_div": {"square": "Mul"}, "reciprocal": {"divide": "Reciprocal"},
        "no_bias": {"bias": False}, "subtracted_twice": {"subtract_twice": True},
        "axes_are_an_input": {"axes_input": True}, "no_gain_is_no_match": {"gain": False, "bias": False},
    }.items():
        g = Graph("fusion", f"layer_norm_{name}", 18 if more.get("axes_input") else 17)
        g.input("x", 3 * g.rand(3, 4, 12) + 1)
        layer_norm(g, "x", 12, **more)
        g.done()
    g = Graph("fusion", "rms_norm")
    g.input("x", 3 * g.rand(3, 4, 12))
    g.const("eps", F(1e-6))
    g.const("g", g.rand(12))
    g.const("two", F(2))
    g.node("Pow", ["x", "two"], ["sq"])
    g.node("ReduceMean", ["sq"], ["ms"], axes=[-1])
    g.node("Add", ["ms", "eps"], ["e"])
    g.node("Sqrt", ["e"], ["s"])
    g.node("Div", ["x", "s"], ["n"])
    g.node("Mul", ["g", "n"])
    g.done()


def attention(name, scores, form, mask=None, opset=17, k_shape=None):
    """scores: shape of Q; form: where the scale stands."""
    g = Graph("fusion", f"attention_{name}", opset)
    rank, width = len(scores), scores[-1]
    g.input("q", g.rand(*scores))
    shared = k_shape is not None and k_shape[0] == 1
    g.input("k", g.rand(*(k_shape or scores)), fixed=shared)
    g.input("v", g.rand(*(k_shape or scores)), fixed=shared)
    g.const("by", F(width ** -0.5))
    g.const("root", F(width ** 0.5))
    perm = list(range(rank - 2)) + [rank - 1, rank - 2]
    g.node("Transpose", ["k"], ["kt"], perm=perm)
    q, kt, s = "q", "kt", "s"
    if form == "q_divided":
        g.node("Div", ["q", "root"], ["qs"])
        q = "qs"
    if form == "both_scaled":
        g.const("quarter", F(width ** -0.25))
        g.node("Mul", ["q", "quarter"], ["qs"])
        g.node("Mul", ["kt", "quarter"], ["ks"])
        q, kt = "qs", "ks"
    g.node("MatMul", [q, kt], ["s"])
    if form == "scores_scaled":
        g.node("Mul", ["s", "by"], ["sm"])
        s = "sm"
    if mask is not None:
        g.input("mask", mask, fixed=True)
        g.node("Add", [s, "mask"] if form != "q_divided" else ["mask", s], ["masked"])
        s = "masked"
    g.node("Softmax", [s], ["p"], axis=-1)
    g.node("MatMul", ["p", "v"])
    g.done()


def attentions():
    closed = np.where(np.arange(6) < 4, 0, -np.inf).astype(F)
    attention("4d", (2, 3, 6, 8), "scores_scaled")
    attention("4d_mask_per_row", (2, 3, 6, 8), "q_divided", np.stack([closed, np.zeros_like(closed)])[:, None, None, :])
    attention("4d_mask_per_query", (2, 3, 6, 8), "scores_scaled", np.triu(np.full((6, 6), -1e9, F), 1))
    attention("3d_mask_per_head", (6, 5, 8), "scores_scaled", np.linspace(-2, 2, 6 * 5 * 5).reshape(6, 5, 5).astype(F))
    attention("both_scaled", (2, 2, 7, 4), "both_scaled")
    attention("unscaled_and_fully_closed", (1, 2, 4, 4), "none", np.full((4, 4), -np.inf, F))
    attention("keys_of_another_length", (2, 2, 3, 8), "scores_scaled", None, 17, (2, 2, 9, 8))
    attention("keys_shared_by_the_batch", (3, 2, 3, 8), "scores_scaled", None, 17, (1, 2, 9, 8))
    attention("opset_11", (2, 3, 6, 8), "scores_scaled", None, 11)


def residual(name, x, w, z, group=1, relu=True, pool=False, **attributes):
    """Relu(Conv(x) + z); pool: z is the mean of each map of itself."""
    g = Graph("fusion", f"residual_{name}")
    g.input("x", g.rand(*x))
    g.input("z", g.rand(*z))
    g.const("w", g.rand(*w))
    g.const("b", g.rand(w[0]))
    g.node("Exp", ["z"], ["ez"])
    if pool:
        g.node("GlobalAveragePool", ["ez"], ["ep"])
    g.node("Conv", ["x", "w", "b"], ["c"], group=group, **attributes)
    g.node("Add", ["ep" if pool else "ez", "c"], ["s"])
    g.node("Relu" if relu else "Neg", ["s"])
    g.done()


def residuals():
    residual("3x3", (2, 16, 7, 7), (16, 16, 3, 3), (2, 16, 7, 7), pads=[1, 1, 1, 1])
    residual("pointwise", (2, 24, 5, 9), (40, 24, 1, 1), (2, 40, 5, 9))
    residual("channels_past_the_last_block", (2, 5, 6, 6), (11, 5, 1, 1), (2, 11, 6, 6), relu=False)
    residual("depthwise", (2, 12, 6, 6), (12, 1, 3, 3), (2, 12, 6, 6), 12, pads=[1, 1, 1, 1])
    residual("groups_that_cut_blocks", (2, 12, 4, 4), (18, 4, 3, 3), (2, 18, 4, 4), 3, pads=[1, 1, 1, 1])
    residual("1d", (2, 16, 20), (16, 16, 3), (2, 16, 20), pads=[1, 1])
    residual("one_number_per_map", (2, 16, 6, 6), (24, 16, 1, 1), (2, 24, 5, 5), pool=True)
    residual("stretches_the_result", (2, 16, 1, 1), (24, 16, 1, 1), (2, 24, 5, 4))


def near_misses():
    g = Graph("fusion", "gelu_with_another_constant_is_no_match")
    g.input("x", g.rand(3, 10))
    g.const("r", F(1.3))
    g.const("one", F(1))
    g.const("half", F(0.5))
    g.node("Div", ["x", "r"], ["d"])
    g.node("Erf", ["d"], ["e"])
    g.node("Add", ["e", "one"], ["a"])
    g.node("Mul", ["x", "a"], ["m"])
    g.node("Mul", ["m", "half"])
    g.done()
    g = Graph("fusion", "silu_whose_inside_is_read_is_no_match")
    g.input("x", g.rand(3, 10))
    g.node("Sigmoid", ["x"], ["s"])
    g.node("Mul", ["x", "s"])
    g.done("y", "s")
    g = Graph("fusion", "gelu_whose_erf_is_an_output_is_no_match")
    g.input("x", g.rand(3, 10))
    erf_gelu(g, "x", "x_first")
    g.done("y", "e")
    g = Graph("fusion", "layer_norm_over_the_middle_is_no_match", 17)
    g.input("x", g.rand(3, 12, 12))
    g.const("eps", F(1e-5))
    g.const("g", g.rand(12))
    g.node("ReduceMean", ["x"], ["mean"], axes=[1])
    g.node("Sub", ["x", "mean"], ["d"])
    g.node("Mul", ["d", "d"], ["sq"])
    g.node("ReduceMean", ["sq"], ["var"], axes=[1])
    g.node("Add", ["var", "eps"], ["ve"])
    g.node("Sqrt", ["ve"], ["sd"])
    g.node("Div", ["d", "sd"], ["n"])
    g.node("Mul", ["n", "g"])
    g.done()


def other_types():
    for name, dtype in (("fp64", np.float64), ("int32", np.int32)):
        g = Graph("fusion", f"types_gemm_relu_in_{name}")
        g.input("x", (4 * g.rand(3, 5)).astype(dtype))
        g.input("w", (4 * g.rand(5, 4)).astype(dtype), fixed=True)
        g.node("Gemm", ["x", "w"], ["g"])
        g.node("Relu", ["g"])
        g.done()


def common():
    g = Graph("fusion", "the_same_twice_is_computed_once")
    g.input("x", g.rand(3, 10))
    for name in ("a", "b"):
        g.const(f"two_{name}", F(2))
        g.node("Mul", ["x", f"two_{name}"], [f"m_{name}"])
        g.node("Exp", [f"m_{name}"], [f"e_{name}"])
    g.node("LeakyRelu", ["e_a"], ["p"], alpha=0.1)
    g.node("LeakyRelu", ["e_b"], ["q"], alpha=0.2)
    g.node("Sub", ["p", "q"], ["s"])
    g.node("Mul", ["s", "m_b"])
    g.done("y", "m_b")


def lstm_products(g, x, h, form, widths, step=""):
    """The sum of both products and their biases; widths: of x and of the state."""
    sides = []
    for side, value, width in (("w", x, widths[0]), ("r", h, widths[1])):
        dims = (4 * widths[1], width) if form == "gemm" else (width, 4 * widths[1])
        if not step:
            g.const(side, g.rand(*dims))
            g.const(side + "_bias", g.rand(4 * widths[1]))
        product = f"{side}{step}_product"
        if form == "gemm":
            g.node("Gemm", [value, side, side + "_bias"], [product], transB=1)
        else:
            g.node("MatMul", [value, side], [product])
        sides.append(product)
    total = f"sum{step}"
    g.node("Add", sides[::-1], [total])
    if form == "one_bias":
        total = g.node("Add", ["w_bias", total], [f"biased{step}"])
    return total


def lstm_gates(g, total, hidden, by, axis, step=""):
    quarters = [f"q{k}{step}" for k in range(4)]
    if by == "split":
        g.node("Split", [total], quarters, axis=axis)
    elif by == "split_sizes":
        if not step:
            g.const("sizes", np.full(4, hidden, I))
        g.node("Split", [total, "sizes"], quarters, axis=axis)
    else:
        for k, quarter in enumerate(quarters):
            ends = {"start": k * hidden, "end": (k + 1) * hidden if k < 3 else 2 ** 63 - 1, "axis": axis}
            names = [g.const(f"{name}{k}", np.array([number], I)) for name, number in ends.items()]
            g.node("Slice", [total, *names], [quarter])
    return quarters


def lstm_states(g, quarters, order, c, new_h, new_c, step=""):
    """order: where i, f, g and o lie, as PyTorch has them."""
    for gate, k in zip("ifgo", order):
        g.node("Tanh" if gate == "g" else "Sigmoid", [quarters[k]], [gate + step])
    g.node("Mul", ["f" + step, c], ["kept" + step])
    g.node("Mul", ["i" + step, "g" + step], ["new" + step])
    g.node("Add", ["kept" + step, "new" + step], [new_c])
    g.node("Tanh", [new_c], ["t" + step])
    g.node("Mul", ["o" + step, "t" + step], [new_h])


def lstm_step(name, form="gemm", by="split", axis=1, order=(0, 1, 2, 3), dims=((3, 5), (3, 6), (3, 6)), opset=13,
              more_outputs=()):
    g = Graph("fusion", name, opset)
    for value, shape in zip("xhc", dims):
        g.input(value, g.rand(*shape), fixed=shape[0] != dims[0][0])
    total = lstm_products(g, "x", "h", form, (dims[0][-1], dims[1][-1]))
    quarters = lstm_gates(g, total, dims[1][-1], by, axis)
    lstm_states(g, quarters, order, "c", "y", "new_c")
    g.node("Relu", ["new_c"], ["z"])
    g.done("y", "z", *more_outputs)


def lstms():
    lstm_step("lstm_as_pytorch_writes_a_cell")
    lstm_step("lstm_of_another_gate_order", "matmul", order=(3, 0, 2, 1), axis=-1)
    lstm_step("lstm_one_bias_sizes_given", "one_bias", "split_sizes", axis=-1, order=(2, 0, 1, 3))
    lstm_step("lstm_by_slices", "gemm", "slices")
    lstm_step("lstm_x_as_wide_as_the_state", dims=((4, 6), (4, 6), (4, 6)))
    lstm_step("lstm_one_state_for_all_rows", "one_bias", axis=-1, dims=((3, 5), (1, 6), (1, 1)))
    lstm_step("lstm_of_rank_3", "matmul", "slices", axis=-1, dims=((2, 3, 7), (2, 3, 18), (2, 1, 18)))
    lstm_step("lstm_state_of_more_axes", "gemm", "slices", dims=((3, 5), (3, 6), (2, 3, 6)))
    lstm_step("lstm_gate_is_an_output_no_match", more_outputs=("f",))
    lstm_step("lstm_sum_is_an_output_no_match", more_outputs=("sum",))
    lstm_step("lstm_quarter_used_twice_no_match", "gemm", "slices", order=(0, 1, 2, 1))
    g = Graph("fusion", "unrolled_lstm_of_three_steps", 13)
    g.input("x", g.rand(4, 3, 5))
    g.input("h", g.rand(4, 7))
    g.input("c", g.rand(4, 7))
    h, c, outputs = "h", "c", []
    for t in range(3):
        step = f"_{t}" if t else ""
        g.const(f"t{t}", np.array(t, I))
        g.node("Gather", ["x", f"t{t}"], [f"x{t}"], axis=1)
        total = lstm_products(g, f"x{t}", h, "gemm", (5, 7), step)
        quarters = lstm_gates(g, total, 7, "split", 1, step)
        lstm_states(g, quarters, (0, 1, 2, 3), c, f"h{t}", f"c{t}", step)
        h, c = f"h{t}", f"c{t}"
        outputs.append(h)
    g.node("Concat", outputs, ["y"], axis=1)
    g.done("y", c)


def written_out(name, op, act=None, bias=True, axis=0, bias_scale=1.0, read_twice=False):
    """A layer between DequantizeLinear and QuantizeLinear, as tools that quantise write it."""
    g = Graph("fusion", name, 13)
    g.input("x", g.random.integers(0, 256, (2, 6, 5, 5) if op == "Conv" else (4, 6)).astype(np.uint8))
    shape, k = ((8, 6, 3, 3), 8) if op == "Conv" else ((6, 8), 8)
    ws = (g.random.random(k) / 100 + 0.01).astype(F)
    for value, at in (("xs", F(0.03)), ("xz", np.uint8(100)), ("ys", F(0.07)), ("yz", np.uint8(90))):
        g.const(value, at)
    g.node("DequantizeLinear", ["x", "xs", "xz"], ["xf"])
    g.node("DequantizeLinear", [g.const("w", g.random.integers(-128, 128, shape).astype(np.int8)), g.const("ws", ws),
                                g.const("wz", np.zeros(k, np.int8))], ["wf"], axis=axis)
    inputs = ["xf", "wf"]
    if bias and op == "Conv":
        g.node("DequantizeLinear", [g.const("b", g.random.integers(-3000, 3000, k).astype(np.int32)),
                                    g.const("bs", (ws * F(0.03) * F(bias_scale)).astype(F))], ["bf"], axis=0)
        inputs.append("bf")
    g.node(op, inputs, ["c"], **({"pads": [1, 1, 1, 1]} if op == "Conv" else {}))
    at = "c"
    if act == "Relu":
        at = g.node("Relu", ["c"], ["r"])
    elif act == "Clip":
        at = g.node("Clip", ["c", g.const("low", F(-1)), g.const("high", F(3))], ["r"])
    g.node("QuantizeLinear", [at, "ys", "yz"], ["y"])
    g.done(*(["y", "c"] if read_twice else ["y"]))


def quantised_cases():
    written_out("qdq_conv", "Conv")
    written_out("qdq_conv_relu", "Conv", act="Relu")
    written_out("qdq_conv_clip_without_bias", "Conv", act="Clip", bias=False)
    written_out("qdq_matmul", "MatMul", axis=1)
    written_out("qdq_conv_no_match_bias_of_another_scale", "Conv", bias_scale=1.5)
    written_out("qdq_conv_no_match_read_twice", "Conv", read_twice=True)


def make():
    products()
    norms()
    attentions()
    lstms()
    residuals()
    near_misses()
    other_types()
    common()
    quantised_cases()
