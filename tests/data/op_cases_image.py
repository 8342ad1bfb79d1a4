"""Images and volumes: transposed and three-dimensional convolution, pooling, sampling, normalisation."""
import numpy as np

from op_graph import F, I, Graph, one


def real(name, *shape):
    return Graph("image", name).rand(*shape)


def conv_transpose(name, x, w, bias=True, **more):
    inputs = {"x": real(name, *x), "w": real(name + "w", *w)}
    if bias:
        inputs["b"] = real(name + "b", w[1] * more.get("group", 1))
    one("image", f"conv_transpose_{name}", "ConvTranspose", inputs, consts=("w", "b"), **more)


def convolutions():
    conv_transpose("plain", (2, 5, 4, 3), (5, 3, 3, 3))
    conv_transpose("stride_and_pads", (2, 4, 5, 6), (4, 6, 3, 2), strides=[2, 3], pads=[1, 0, 0, 1])
    conv_transpose("kernel_is_stride", (2, 8, 4, 4), (8, 4, 2, 2), strides=[2, 2])
    conv_transpose("groups", (2, 6, 4, 4), (6, 2, 3, 3), group=3, strides=[2, 2])
    conv_transpose("depthwise", (2, 6, 4, 4), (6, 1, 3, 3), group=6)
    conv_transpose("dilations", (2, 3, 4, 4), (3, 2, 3, 3), dilations=[2, 1])
    conv_transpose("output_padding", (2, 3, 4, 4), (3, 2, 3, 3), strides=[3, 2], output_padding=[2, 1])
    conv_transpose("output_shape", (2, 3, 4, 4), (3, 2, 3, 3), strides=[2, 2], output_shape=[8, 9])
    conv_transpose("same_upper", (2, 3, 4, 4), (3, 2, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER")
    conv_transpose("same_lower", (2, 3, 4, 4), (3, 2, 3, 3), strides=[2, 2], auto_pad="SAME_LOWER")
    conv_transpose("1d", (2, 3, 9), (3, 4, 5), strides=[4], bias=False)
    conv_transpose("3d", (2, 3, 2, 3, 4), (3, 2, 2, 3, 2), strides=[2, 1, 2])
    one("image", "conv_transpose_weights_of_the_run", "ConvTranspose",
        {"x": real("ctw", 2, 3, 4, 4), "w": real("ctww", 3, 2, 3, 3)}, fixed=True)
    for name, more in {"plain": {}, "pads": {"pads": [1, 0, 1, 0, 1, 1]}, "strides": {"strides": [2, 1, 2]},
                       "dilated": {"dilations": [1, 2, 1]}, "groups": {"group": 2}}.items():
        w = real("c3w" + name, 6, 4 // more.get("group", 1), 2, 3, 2)
        g = Graph("image", f"conv_3d_{name}")
        g.input("x", g.rand(2, 4, 4, 5, 6))
        g.const("w", w)
        g.const("b", g.rand(6))
        g.node("Conv", ["x", "w", "b"], ["c"], **more)
        g.node("Relu", ["c"])
        g.done()


def pools():
    x = real("pools", 2, 3, 7, 6)
    for name, more in {"plain": {}, "padded": {"pads": [1, 1, 0, 1], "strides": [2, 2]},
                       "columns_first": {"storage_order": 1, "strides": [2, 1]},
                       "dilated": {"dilations": [2, 2]}, "ceil": {"ceil_mode": 1, "strides": [2, 2]}}.items():
        one("image", f"max_pool_places_{name}", "MaxPool", {"x": x}, outputs=("y", "at"), fixed=True,
            kernel_shape=[3, 2], **more)
    one("image", "max_pool_uint8", "MaxPool", {"x": (x * 20 + 100).astype(np.uint8)}, kernel_shape=[3, 3], strides=[2, 2])
    one("image", "max_pool_int8", "MaxPool", {"x": (x * 20).astype(np.int8)}, kernel_shape=[2, 2])
    v = real("volumes", 2, 3, 4, 5, 6)
    for op in ("MaxPool", "AveragePool", "LpPool"):
        one("image", f"{op}_3d", op, {"x": v}, kernel_shape=[2, 3, 2], strides=[1, 2, 2], pads=[1, 0, 1, 0, 1, 0])
    one("image", "AveragePool_3d_counts_pads", "AveragePool", {"x": v}, kernel_shape=[2, 3, 2], pads=[1, 1, 1, 1, 1, 1],
        count_include_pad=1)
    one("image", "lp_pool_of_1", "LpPool", {"x": x}, kernel_shape=[3, 3], p=1)
    one("image", "global_lp_pool", "GlobalLpPool", {"x": x}, p=3)
    for op in ("GlobalMaxPool", "GlobalAveragePool"):
        one("image", f"{op}_3d", op, {"x": v})


def resize(name, x, opset, sizes=None, scales=None, roi=None, **more):
    inputs = {"x": x, "roi": roi, "scales": scales}
    if sizes is not None:
        inputs["sizes"] = np.array(sizes, I)
        inputs["scales"] = None
    one("image", f"resize_{name}", "Resize", inputs, opset, consts=("roi", "scales", "sizes"), **more)


def samples():
    x = real("resize", 2, 3, 5, 6)
    up, down = np.array([1, 1, 2, 1.5], F), np.array([1, 1, 0.6, 0.5], F)
    for mode in ("nearest", "linear", "cubic"):
        for place in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
            resize(f"{mode}_{place}_up", x, 13, scales=up, mode=mode, coordinate_transformation_mode=place)
            resize(f"{mode}_{place}_to_sizes", x, 13, sizes=[2, 3, 3, 9], mode=mode,
                   coordinate_transformation_mode=place)
    for how in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"):
        resize(f"nearest_{how}", x, 13, scales=down, mode="nearest", nearest_mode=how)
    resize("cubic_excludes_outside", x, 13, scales=up, mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5)
    resize("crop", x, 13, sizes=[2, 3, 4, 4], roi=np.array([0, 0, 0.2, 0.3, 1, 1, 0.9, 1.3], F), mode="linear",
           coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=7.0)
    resize("linear_uint8", (x * 30 + 100).astype(np.uint8), 13, scales=np.array([1, 1, 2, 2], F), mode="nearest")
    for mode in ("linear", "cubic"):
        resize(f"{mode}_antialias", x, 18, sizes=[2, 3, 2, 3], mode=mode, antialias=1)
    resize("axes", x, 18, scales=np.array([2, 0.5], F), mode="linear", axes=[3, 2])
    resize("not_larger", x, 18, sizes=[7, 7], mode="linear", axes=[2, 3], keep_aspect_ratio_policy="not_larger")
    resize("not_smaller", x, 18, sizes=[7, 7], mode="nearest", axes=[2, 3], keep_aspect_ratio_policy="not_smaller")
    one("image", "resize_opset_10", "Resize", {"x": x, "s": np.array([1, 1, 2, 2], F)}, 10, consts=("s",))
    one("image", "upsample_opset_9_linear", "Upsample", {"x": x, "s": np.array([1, 1, 2, 3], F)}, 9, consts=("s",),
        mode="linear")
    grid = (Graph("image", "grid").random.random((2, 4, 3, 2)).astype(F) - F(0.5)) * F(2.6)
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for align in (0, 1):
                one("image", f"grid_{mode}_{padding}_{align}", "GridSample", {"x": x, "g": grid}, 16, mode=mode,
                    padding_mode=padding, align_corners=align)
    volume = (Graph("image", "grid 3d").random.random((2, 3, 2, 4, 3)).astype(F) - F(0.5)) * F(2.4)
    for mode in ("linear", "nearest"):
        one("image", f"grid_3d_{mode}", "GridSample", {"x": real("g3", 2, 3, 4, 5, 6), "g": volume}, 20, mode=mode)
    rois = np.array([[0, 0, 4, 4], [1, 0.5, 5, 3], [2, 2, 3, 3]], F)
    for mode in ("avg", "max"):
        for place in ("half_pixel", "output_half_pixel"):
            one("image", f"roi_{mode}_{place}", "RoiAlign", {"x": x, "r": rois, "i": np.array([0, 1, 1], I)}, 16,
                fixed=True, mode=mode, coordinate_transformation_mode=place, output_height=2, output_width=3,
                sampling_ratio=2)
    one("image", "roi_samples_by_size", "RoiAlign", {"x": x, "r": rois, "i": np.array([0, 1, 1], I)}, 16, fixed=True,
        output_height=2, output_width=2, spatial_scale=0.5)


def normalisations():
    x = real("norms", 3, 6, 4, 5)
    one("image", "instance_norm", "InstanceNormalization", {"x": x, "s": real("is", 6), "b": real("ib", 6)},
        consts=("s", "b"))
    one("image", "instance_norm_1d", "InstanceNormalization", {"x": real("n1", 3, 6, 9), "s": real("is", 6),
                                                             "b": real("ib", 6)}, consts=("s", "b"), epsilon=1e-2)
    one("image", "group_norm_18", "GroupNormalization", {"x": x, "s": real("gs", 3), "b": real("gb", 3)}, 18,
        consts=("s", "b"), num_groups=3)
    one("image", "group_norm_21", "GroupNormalization", {"x": x, "s": real("hs", 6), "b": real("hb", 6)}, 21,
        consts=("s", "b"), num_groups=3)
    one("image", "rms_norm", "RMSNormalization", {"x": x, "s": real("rs", 5)}, 23, consts=("s",))
    one("image", "rms_norm_two_axes", "RMSNormalization", {"x": x, "s": real("rs2", 4, 5)}, 23, consts=("s",), axis=-2)
    one("image", "lrn", "LRN", {"x": x}, size=3, alpha=0.2, bias=1.5)
    for p in (1, 2):
        one("image", f"lp_norm_{p}", "LpNormalization", {"x": x}, p=p, axis=1)
    one("image", "mvn", "MeanVarianceNormalization", {"x": x})
    one("image", "mvn_of_each_map", "MeanVarianceNormalization", {"x": x}, axes=[2, 3])
    for mode in ("DCR", "CRD"):
        one("image", f"depth_to_space_{mode}", "DepthToSpace", {"x": real("dts", 3, 12, 2, 3)}, blocksize=2, mode=mode)
    one("image", "space_to_depth", "SpaceToDepth", {"x": real("std", 3, 2, 4, 6)}, blocksize=2)


def make():
    convolutions()
    pools()
    samples()
    normalisations()
