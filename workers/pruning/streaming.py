"""Takes layers out of a checkpoint on disk: bytes go from file to file, and no model is built.

Memory does not grow with the model, and torch is not imported.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from api_schemas.architectures import Architecture
from api_schemas.renumbering import new_fields, new_key, split_layers
from sources.config_numbers import portable
from sources.facts import DTYPES, INDEX, WEIGHTS, choose_weights, read_index
from sources.headers import Layout, Tensor, invalid, read_layout

#: As fast as `cp`; a larger one leaves the processor's cache when the machine is busy: docs/lab/surgery.md.
BLOCK = 128 << 10
#: What a model saves beside its weights and its config.
COPIED = ("generation_config.json",)

Rename = Callable[[str], str | None]
#: Hears how many bytes of how many are copied.
Copied = Callable[[int, int], None]


def _unheard(copied: int, total: int) -> None:
    """For work that nobody watches."""


@dataclass(frozen=True)
class Shard:
    """A file to be written: ``header``, then ``spans`` of ``source`` (first byte, last byte + 1), one after another.

    ``origins`` has for each tensor its name in the source; ``bytes`` is the size of all of them.
    """

    source: Path
    name: str
    header: bytes
    spans: list[tuple[int, int]]
    origins: dict[str, str]
    bytes: int


@dataclass(frozen=True)
class Cut:
    """A checkpoint as it will be. ``index`` is None where it is one file. Sizes are those of the tensors, in bytes.

    ``mixed``: its weights are of several types, which a model in memory is not.
    """

    shards: list[Shard]
    index: dict[str, Any] | None
    mixed: bool
    bytes_before: int
    bytes_after: int

    @property
    def origins(self) -> dict[str, tuple[str, str]]:
        """For each tensor, the file of the source that it is in, and its name there."""
        return {new: (shard.source.name, old) for shard in self.shards for new, old in shard.origins.items()}


def stream_layers(
    source: Path,
    target: Path,
    architecture: Architecture,
    kept: Sequence[int],
    *,
    copied: Copied = _unheard,
    **fields: Any,
) -> Cut:
    """Write the model in ``source`` with its layers ``kept`` and no others into ``target``; every tensor as it is.

    Layers are numbered through the stacks. ``fields`` of ``config.json`` are changed beside those of the layers.
    ``read_facts`` must have found the source to be sound. Raises ``model_invalid``.
    """
    config = json.loads((source / "config.json").read_bytes())
    left = split_layers(kept, architecture.sizes(config))
    cut = plan_cut(source, lambda key: new_key(architecture, key, left))
    write_cut(cut, source, target, {**portable(config), **new_fields(architecture, config, left), **fields}, copied)
    return cut


def plan_cut(folder: Path, rename: Rename) -> Cut:
    """What becomes of the weights in ``folder``; reads headers only.

    ``rename`` gives the new name of a tensor, or None for one that goes. A shard stays a shard; one of which nothing is
    left is not written, and the others are numbered anew.
    """
    index, layouts = _read(folder)
    renamed = {file: _renamed(layout, rename) for file, layout in layouts.items()}
    left = [file for file, names in renamed.items() if names]
    shards = [
        _shard(folder / file, _name(number, len(left), index), layouts[file], renamed[file])
        for number, file in enumerate(left, 1)
    ]
    gone = [
        tensor
        for file, layout in layouts.items()
        for name, tensor in layout.tensors.items()
        if name not in renamed[file]
    ]
    size = sum(shard.bytes for shard in shards)
    types = {layouts[file].tensors[name].dtype for file, names in renamed.items() for name in names}
    return Cut(
        shards=shards,
        index=None if index is None else _index(index, shards, size, sum(tensor.size for tensor in gone)),
        mixed=len(types & DTYPES.keys()) > 1,
        bytes_before=size + sum(tensor.end - tensor.start for tensor in gone),
        bytes_after=size,
    )


def write_cut(cut: Cut, source: Path, target: Path, config: dict[str, Any], copied: Copied = _unheard) -> None:
    """Write the weights of ``cut``, ``config`` and what else belongs to the model in ``source`` into ``target``.

    The folder appears whole or not at all; one that is there is replaced.
    """
    hidden = target.with_name(f".{target.name}.part")
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)
    block, done = memoryview(bytearray(BLOCK)), 0
    for shard in cut.shards:
        for size in _write(shard, hidden / shard.name, block):
            done += size
            copied(done, cut.bytes_after)
    if cut.index is not None:
        _write_json(hidden / INDEX, cut.index)
    _write_json(hidden / "config.json", config)
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, hidden / name)
    shutil.rmtree(target, ignore_errors=True)
    hidden.rename(target)


def _read(folder: Path) -> tuple[dict[str, Any] | None, dict[str, Layout]]:
    """The index, where there is one, and the header of every file."""
    weights = choose_weights({path.name for path in folder.iterdir()}, folder.name)
    if weights != INDEX:
        return None, {weights: read_layout(folder / weights)}
    index = json.loads((folder / INDEX).read_bytes())
    files = sorted(set(read_index(index, folder.name).values()))
    return index, {file: read_layout(folder / file) for file in files}


def _renamed(layout: Layout, rename: Rename) -> dict[str, str]:
    """What is kept: the new name by the old one."""
    return {name: new for name in layout.tensors if (new := rename(name)) is not None}


def _name(number: int, count: int, index: dict[str, Any] | None) -> str:
    return WEIGHTS if index is None else f"model-{number:05}-of-{count:05}.safetensors"


def _shard(source: Path, name: str, layout: Layout, kept: dict[str, str]) -> Shard:
    # Wide types first, as the library writes them: a tensor must begin at a multiple of its width.
    rows = sorted(((layout.tensors[old], old) for old in kept), key=lambda row: (-_width(row[0]), row[0].start))
    # "format" says whose names and layouts the tensors have. A model that stock classes load has torch's, whatever
    # library wrote the file; older transformers refuse it under another.
    header: dict[str, Any] = {"__metadata__": {**layout.metadata, "format": "pt"}}
    spans: list[tuple[int, int]] = []
    size = 0
    for tensor, old in rows:
        end = size + tensor.end - tensor.start
        header[kept[old]] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [size, end]}
        _extend(spans, layout.begin + tensor.start, layout.begin + tensor.end)
        size = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return Shard(
        source=source,
        name=name,
        header=len(text).to_bytes(8, "little") + text,
        spans=spans,
        origins={kept[old]: old for _, old in rows},
        bytes=size,
    )


def _width(tensor: Tensor) -> int:
    bits = re.search(r"\d+", tensor.dtype)
    return int(bits[0]) // 8 if bits else 1


def _extend(spans: list[tuple[int, int]], start: int, end: int) -> None:
    if spans and spans[-1][1] == start:
        start = spans.pop()[0]
    spans.append((start, end))


def _index(index: dict[str, Any], shards: Sequence[Shard], size: int, gone: int) -> dict[str, Any]:
    """``index`` of what is left; ``gone`` numbers are not there any more."""
    metadata = dict(index.get("metadata") or {}) | {"total_size": size}
    if isinstance(metadata.get("total_parameters"), int):
        metadata["total_parameters"] -= gone
    files = {new: shard.name for shard in shards for new in shard.origins}
    return {**index, "metadata": metadata, "weight_map": dict(sorted(files.items()))}


def _write(shard: Shard, path: Path, block: memoryview) -> Iterator[int]:
    """The sizes of what was copied, one after another."""
    with shard.source.open("rb", buffering=0) as source, path.open("wb") as target:
        target.write(shard.header)
        for start, end in shard.spans:
            yield from _copy(source, target, start, end, block)


def _copy(source: BinaryIO, target: BinaryIO, start: int, end: int, block: memoryview) -> Iterator[int]:
    source.seek(start)
    while start < end:
        got = source.readinto(block[: end - start])  # type: ignore[attr-defined]
        if not got:
            raise invalid(f"{Path(source.name).name} became shorter while it was read")
        target.write(block[:got])
        start += got
        yield got


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
