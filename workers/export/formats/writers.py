"""WRITERS: what writes each format of FORMATS. All of them begin with the graph in float32."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import PreTrainedModel

from api_schemas.formats import FORMATS, PLAIN, Format
from workers.export.files import as_exported
from workers.export.formats.graph import make_graph, save_graph, signature_of
from workers.export.formats.smaller import write_bf16, write_int8
from workers.runtime.parts import Done, unheard
from workers.runtime.sentence_modules import SentenceModules

#: From the graph in float32 to a file; None where it is that itself.
WRITERS: dict[str, Callable[[Path, Path], None] | None] = {
    "onnx": None,
    "onnx-int8": write_int8,
    "onnx-bf16": write_bf16,
}

if left_out := FORMATS.keys() ^ WRITERS.keys() ^ {PLAIN}:
    raise TypeError(f"of the formats, these have a row or a writer, and not both: {', '.join(sorted(left_out))}")


def write_formats(
    formats: Sequence[Format],
    model: PreTrainedModel,
    folder: Path,
    *,
    inputs: Sequence[str],
    pooling: SentenceModules | None = None,
    done: Done = unheard,
) -> None:
    """Write each of ``formats`` of ``model``, which holds its weights as they are exported, into ``folder``.

    ``inputs`` are those that its tokenizer makes; ``pooling`` is what makes a vector of the states of its tokens. The
    model stays as it is. ``done`` hears of the files. Raises ``export_failed`` where torch cannot follow the model.
    """
    whole = as_exported(model, torch.float32).eval()
    graph = make_graph(whole, signature_of(whole, inputs, pooling), pooling)
    done(0, len(formats))
    with TemporaryDirectory(dir=folder, prefix=".onnx-") as place:
        source = Path(place) / "model.onnx"
        save_graph(graph, source)
        del graph
        for number, row in enumerate(formats, 1):
            path = folder / row.file
            path.parent.mkdir(exist_ok=True)
            (WRITERS[row.name] or _copy)(source, path)
            done(number, len(formats))


def _copy(source: Path, path: Path) -> None:
    """With its tensors beside it, whose name stands in it."""
    for file in source.parent.glob(f"{source.name}*"):
        shutil.copyfile(file, path.with_name(file.name))
