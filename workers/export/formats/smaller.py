"""Smaller forms of a graph: its weights in fewer bits."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from workers.export.formats.graph import INLINE_BYTES, save_graph

if TYPE_CHECKING:
    import onnx_ir

#: Numbers of a tensor that is worth a node that makes it float32 again.
WORTH = 256


def write_int8(source: Path, path: Path) -> None:
    """The graph ``source`` with weights in int8, and activations quantized as they come."""
    import onnx_ir  # noqa: PLC0415 - of the extra `onnx`, as all here
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    root = logging.getLogger()
    level = root.level
    with TemporaryDirectory(dir=path.parent, prefix=".int8-") as made:
        quantized = Path(made) / "model.onnx"
        root.setLevel(logging.ERROR)  # it recommends what the graph has been through
        try:
            # By channel: with one scale for a whole matrix, a large output costs all others their bits.
            quantize_dynamic(
                source,
                quantized,
                per_channel=True,
                weight_type=QuantType.QInt8,
                use_external_data_format=_bytes(source) > INLINE_BYTES,
            )
        finally:
            root.setLevel(level)
        save_graph(onnx_ir.load(quantized), path)


def write_bf16(source: Path, path: Path) -> None:
    """The graph ``source`` with weights in bfloat16, each with a node that makes it float32 again: on a CPU,
    onnxruntime has no product of bfloat16. It does this once, when it loads the file.
    """
    import onnx_ir  # noqa: PLC0415

    graph = onnx_ir.load(source)
    for value in list(graph.graph.initializers.values()):
        tensor = value.const_value
        if tensor is not None and tensor.dtype == onnx_ir.DataType.FLOAT and tensor.size >= WORTH:
            _halve(graph, value, tensor)
    save_graph(graph, path)


def _halve(graph: onnx_ir.Model, value: onnx_ir.Value, tensor: onnx_ir.TensorProtocol) -> None:
    import ml_dtypes  # noqa: PLC0415
    import onnx_ir  # noqa: PLC0415

    name = f"{value.name}_bf16"
    rounded = onnx_ir.tensor(tensor.numpy().astype(ml_dtypes.bfloat16), name=name)
    half = onnx_ir.Value(name=name, shape=value.shape, type=onnx_ir.TensorType(rounded.dtype), const_value=rounded)
    whole = onnx_ir.node("Cast", [half], {"to": onnx_ir.DataType.FLOAT})
    value.replace_all_uses_with(whole.outputs[0])
    del graph.graph.initializers[str(value.name)]
    graph.graph.register_initializer(half)
    graph.graph.insert_before(graph.graph[0], whole)


def _bytes(source: Path) -> int:
    return sum(path.stat().st_size for path in source.parent.glob(f"{source.name}*"))
