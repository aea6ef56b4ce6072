"""Graphs of onnx that are changed, so that what they say is wrong."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import helper


def change_output(path: Path, name: str, operator: str, inputs: int = 1, **attributes: object) -> None:
    """Put ``operator`` over the output ``name``, which it is given so many times."""
    whole = onnx.load(path)
    (last,) = [node for node in whole.graph.node if name in node.output]
    last.output[list(last.output).index(name)] = f"{name}_before"
    whole.graph.node.append(helper.make_node(operator, [f"{name}_before"] * inputs, [name], **attributes))
    onnx.save(whole, path)
