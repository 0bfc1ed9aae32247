"""TorchScript graphs rewritten into forms that a processor computes faster, with the same results."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["convolve_in_blocks", "normalise_by_groups", "pack_weights", "pool_along_channels"]

_SIDE = 4  # 16 outputs: one vector of AVX-512, two of AVX2
_CHANNELS_LAST = 2  # torch.channels_last as TorchScript counts


def convolve_in_blocks(graph: Any) -> None:
    """Compute the last convolution's one channel as 16, those of blocks of 4 x 4 pixels, spread out afterwards.

    oneDNN computes 16 channels at once, also where one is asked for. The blocks' kernels are the one kernel, moved by a
    pixel each, in a frame of zeros. The demo's small generator takes 0.3 ms instead of 1.9 for it and a frame pair, or
    0.7 instead of 4.4 with AVX2 alone. For sides that are multiples of 4; of other convolutions they are not known.
    """
    for node in graph.findAllNodes("aten::_convolution"):
        _, kernel, bias, stride, _, dilation, transposed, _, groups, *_ = map(_constant, node.inputs())
        if kernel is None or transposed or groups != 1 or not stride == dilation == [1, 1] or not _is_last(node):
            continue
        outputs, inputs, height, width = kernel.shape
        if outputs > 1 or height == width == 1:
            continue
        moved = kernel.new_zeros(_SIDE, _SIDE, inputs, height + _SIDE - 1, width + _SIDE - 1)
        for i in range(_SIDE):
            for j in range(_SIDE):
                moved[i, j, :, i : i + height, j : j + width] = kernel[0]
        graph.setInsertPoint(node)
        moved = moved.flatten(0, 1).to(memory_format=torch.channels_last)
        node.replaceInput(1, graph.insertConstant(moved))
        if bias is not None:
            node.replaceInput(2, graph.insertConstant(bias.repeat(_SIDE**2)))
        node.replaceInput(3, graph.insertConstant([_SIDE, _SIDE]))
        spread = graph.create("aten::pixel_shuffle", [node.output(), graph.insertConstant(_SIDE)], 1)
        spread.insertAfter(node)
        node.output().replaceAllUsesAfterNodeWith(spread, spread.output())


def pool_along_channels(graph: Any) -> None:
    """Average along rows or columns with the other axis as channels: PyTorch averages 8 or 16 channels at once.

    The local contrast of a frame pair takes 0.2 ms instead of 1.2.
    """
    for node in graph.findAllNodes("aten::avg_pool2d"):
        image, *given = node.inputs()
        kernel, stride, padding = map(_constant, given[:3])
        if stride != [1, 1] or kernel is None or 1 not in kernel:
            continue
        # Where columns are averaged, rows become channels, and the other way round.
        there, back = ([0, 2, 3, 1], [0, 3, 1, 2]) if kernel[0] == 1 else ([0, 3, 2, 1], [0, 3, 2, 1])
        long, pad = [max(kernel), 1], [max(padding), 0]
        graph.setInsertPoint(node)
        turned = _inserted(graph, "aten::permute", image, there)
        turned = _inserted(graph, "aten::contiguous", turned, _CHANNELS_LAST)
        pooled = _inserted(graph, "aten::avg_pool2d", turned, long, stride, pad, *given[3:])
        _replace(node, _inserted(graph, "aten::permute", pooled, back))


def normalise_by_groups(graph: Any) -> None:
    """Normalise instances as groups of one channel each, whose float32 sums PyTorch vectorises.

    The demo's small generator spends 0.3 ms on it instead of 1.6 for a frame pair. In bfloat16 both are as fast.
    """
    for node in graph.findAllNodes("aten::instance_norm"):
        image, weight, bias, _, _, of_input, _, epsilon, cudnn = node.inputs()
        if _constant(of_input) is not True:
            continue
        graph.setInsertPoint(node)
        channels = _inserted(graph, "aten::size", image, 1)
        channels.setType(torch._C.IntType.get())
        _replace(node, _inserted(graph, "aten::group_norm", image, channels, weight, bias, epsilon, cudnn))


def pack_weights(graph: Any, dtype: torch.dtype) -> None:
    """Lay out the weights of convolutions as oneDNN computes with them, once, not in every run.

    Convolutions take inputs of ``dtype`` then, and the ReLU after one is computed with it. For a frame pair, the demo's
    landmark network takes 2.4 ms in bfloat16 instead of 3.3, one of the paper's width 8 ms instead of 14. In float32 it
    would not pay: with AVX2 the layouts depend on the sizes of batch and picture, and it took 60 ms instead of 12.
    """
    for node in graph.findAllNodes("aten::_convolution"):
        image, _, no_bias, *_ = node.inputs()
        _, kernel, bias, stride, padding, dilation, transposed, _, groups, *_ = map(_constant, node.inputs())
        if kernel is None or transposed:
            continue
        packed = torch.ops.mkldnn._reorder_convolution_weight(kernel.to(dtype), padding, stride, dilation, groups, None)
        graph.setInsertPoint(node)
        weights = graph.insertNode(graph.create("prim::ConstantMKLDNNTensor", [], 1))
        weights.t_("value", packed)
        nothing = graph.insertNode(graph.create("prim::ListConstruct", [], 1)).output()
        nothing.setType(torch._C.ListType(torch._C.OptionalType(torch._C.NumberType.get())))
        users = [use.user for use in node.output().uses()]
        rectified = len(users) == 1 and users[0].kind() in {"aten::relu", "aten::relu_"}
        convolved = _inserted(
            graph,
            "mkldnn::_convolution_pointwise",
            _inserted(graph, "aten::to", image, dtype, False, False, None),
            weights.output(),
            no_bias if bias is None else bias.to(dtype),
            padding,
            stride,
            dilation,
            groups,
            "relu" if rectified else "none",
            nothing,
            "",
        )
        if rectified:
            _replace(users[0], convolved)
        _replace(node, convolved)


def _constant(value: Any) -> Any:
    """Return what a value of the graph always is; None where it is none or changes."""
    found = value.toIValue()
    return list(found) if isinstance(found, tuple) else found


def _is_last(node: Any) -> bool:
    """Tell whether a node's output is the graph's, or a function of each of its numbers is."""
    users = [use.user for use in node.output().uses()]
    if len(users) == 1 and users[0].kind() in {"aten::tanh", "aten::sigmoid"}:
        return _is_last(users[0])
    return [one.kind() for one in users] == ["prim::Return"]


def _inserted(graph: Any, kind: str, *inputs: Any) -> Any:
    """Return the value of an operation that is inserted, with constants made of inputs that are no values."""
    values = [one if isinstance(one, torch._C.Value) else graph.insertConstant(one) for one in inputs]
    return graph.insertNode(graph.create(kind, values, 1)).output()


def _replace(node: Any, value: Any) -> None:
    node.output().replaceAllUsesWith(value)
    node.destroy()
