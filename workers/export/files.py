"""Writes the files of an artifact: weights as safetensors, config, tokenizer, and the list of their hashes."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from api_schemas.architectures import Architecture
from api_schemas.errors import LayercutError
from workers.export.older_transformers import write_older_fields
from workers.export.sums import SUMS, sums_text
from workers.pruning.streaming import Cut, stream_layers
from workers.runtime.casting import cast_weights
from workers.runtime.loading import forget_padding
from workers.runtime.parts import Done, unheard

BLOCK = 1 << 20


def as_exported(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """``model`` on the CPU in ``dtype``: itself where it is that already, else a copy."""
    if all(weight.dtype == dtype and weight.device.type == "cpu" for weight in model.parameters()):
        return model
    moved: PreTrainedModel = nn.Module.to(copy.deepcopy(model), "cpu")
    return cast_weights(moved, dtype)


def export_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype) -> None:
    """Write ``model`` in ``dtype`` and ``tokenizer`` into ``folder``, as stock `transformers` reads them.

    ``model`` stays as it is. Raises ``export_failed`` where a weight is not finite in ``dtype``.
    """
    copied = as_exported(model, dtype)
    for name, weight in copied.named_parameters():
        if not torch.isfinite(weight).all():
            text = f"{name} holds numbers that {str(dtype).removeprefix('torch.')} cannot: choose another export.dtype"
            raise LayercutError("export_failed", text, param="/export/dtype")
    copied.save_pretrained(folder)
    _finish(folder, tokenizer)


def export_stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    source: Path,
    architecture: Architecture,
    kept: Sequence[int],
    done: Done = unheard,
) -> Cut:
    """As ``export_model``, with the files in ``source`` for ``model``: it has their weights, in the layers ``kept``.

    No weight is put into memory, and every tensor of those files has its place, used by ``model`` or not. ``done``
    hears of the bytes of the weights.
    """
    padding = model.config.get_text_config().pad_token_id
    fields = {"architectures": [type(model).__name__]} | ({} if padding is None else {"pad_token_id": padding})
    cut = stream_layers(source, folder, architecture, kept, copied=done, **fields)
    _finish(folder, tokenizer)
    return cut


def _finish(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    forget_padding(tokenizer).save_pretrained(folder)
    write_older_fields(folder, tokenizer)
    for path in folder.iterdir():
        # safetensors leaves its file readable to its owner alone, and others are to use it.
        if path.is_file():
            path.chmod(0o644)


def write_sums(folder: Path, done: Done = unheard) -> Path:
    """Write ``SHA256SUMS``, which ``sha256sum -c`` takes, over every other file under ``folder``. ``done`` hears of the
    bytes.
    """
    sums = folder / SUMS
    files = [path for path in folder.rglob("*") if path.is_file() and path != sums]
    hashed, total = 0, sum(path.stat().st_size for path in files)
    digests: dict[str, str] = {}
    for path in files:
        digest = hashlib.sha256()
        for block in _blocks(path):
            digest.update(block)
            hashed += len(block)
            done(hashed, total)
        digests[path.relative_to(folder).as_posix()] = digest.hexdigest()
    sums.write_text(sums_text(digests), "utf-8")
    return sums


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
