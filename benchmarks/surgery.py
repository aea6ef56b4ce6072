"""Layers taken out of a checkpoint on disk, against `cp` of the kept bytes and `from_pretrained` + `save_pretrained`.

A synthetic sharded Llama in bfloat16, 4 GB (`--quick`: 0.4 GB), of which every third layer goes. The sides take turns,
each in a fresh process. What a side reads has just been read once, for all sides, so that it comes from the page cache.
Nothing is synced within a side's time, and all is synced between two turns. Our time, and that of `from_pretrained`,
begins after the imports.

Claims: at most 1.3 times the seconds of `cp`; at most 150 MB of memory. Ends with one line of JSON: ratios of seconds,
ours / theirs, and the peak resident set of our process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _progress import at, machine

from api_schemas.architectures import ARCHITECTURES
from workers.pruning.streaming import stream_layers

LLAMA = ARCHITECTURES["llama"]


@dataclass(frozen=True)
class Size:
    """``turns`` of ours and of `cp`; ``builds`` of `from_pretrained`, in the first of them."""

    hidden: int
    layers: int
    layers_a_shard: int
    turns: int
    builds: int

    @property
    def config(self) -> dict[str, Any]:
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "hidden_size": self.hidden,
            "intermediate_size": self.hidden * 11 // 4,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.hidden // 64,
            "num_key_value_heads": 4,
            "vocab_size": 32000,
            "tie_word_embeddings": False,
        }

    @property
    def kept(self) -> list[int]:
        return [layer for layer in range(self.layers) if layer % 3 != 1]


SIZES = {True: Size(1024, 12, 4, turns=5, builds=1), False: Size(2048, 44, 6, turns=7, builds=3)}


def make_checkpoint(folder: Path, size: Size) -> None:
    """Shards as `save_pretrained` cuts them: some layers in each, the head in the last one."""
    import torch  # noqa: PLC0415 - our side must not import it
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    with torch.device("meta"):
        shapes = {
            name: tensor.shape for name, tensor in LlamaForCausalLM(LlamaConfig(**size.config)).state_dict().items()
        }
    drawn = torch.randn(max(shape.numel() for shape in shapes.values()), dtype=torch.float32).mul_(0.02).bfloat16()
    shards: dict[int, list[str]] = {}
    for name in shapes:
        place = LLAMA.place(name)
        layer = place.layer if place else 0 if "embed" in name else size.layers - 1
        shards.setdefault(layer // size.layers_a_shard, []).append(name)
    files = {f"model-{number + 1:05}-of-{len(shards):05}.safetensors": names for number, names in shards.items()}
    for file, names in files.items():
        # Rolled by the place in the model: no two layers are alike.
        tensors = {
            name: drawn[: shapes[name].numel()].roll(number).reshape(shapes[name])
            for number, name in enumerate(shapes)
            if name in names
        }
        save_file(tensors, folder / file, metadata={"format": "pt"})
    total = sum(shape.numel() for shape in shapes.values())
    index = {
        "metadata": {"total_parameters": total, "total_size": 2 * total},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(size.config))


def stream(source: Path, target: Path, size: Size) -> float:
    began = time.perf_counter()
    stream_layers(source, target, LLAMA, size.kept)
    return time.perf_counter() - began


def build(source: Path, target: Path, size: Size) -> float:
    from transformers import LlamaForCausalLM  # noqa: PLC0415

    from workers.pruning.surgery import drop_layers  # noqa: PLC0415

    began = time.perf_counter()
    model = LlamaForCausalLM.from_pretrained(source, dtype="auto")
    drop_layers(model, LLAMA, size.kept)
    model.save_pretrained(target, max_shard_size="500MB")
    return time.perf_counter() - began


CHILDREN: dict[str, Callable[..., float | None]] = {"make": make_checkpoint, "stream": stream, "build": build}


def peak_mb() -> float:
    """Of this program alone: getrusage would count what the parent held before it became this program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM"))


def in_child(what: str, *paths: Path, quick: bool) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", what, *map(str, paths), *(["--quick"] if quick else [])]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def copy(source: Path, target: Path) -> float:
    began = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)
    return time.perf_counter() - began


def settle(read: Path, remove: Path) -> None:
    """Before a turn: no writing of the last one is under way, and what will be read is in memory."""
    shutil.rmtree(remove, ignore_errors=True)
    os.sync()
    block = bytearray(1 << 20)
    for path in read.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


def check_alike(one: Path, other: Path) -> None:
    """The two folders hold the same tensors."""
    import torch  # noqa: PLC0415
    from safetensors import safe_open  # noqa: PLC0415

    def files(folder: Path) -> dict[str, Any]:
        opened: list[Any] = [safe_open(path, "pt") for path in folder.glob("*.safetensors")]
        return {name: file for file in opened for name in file.keys()}  # noqa: SIM118

    ours, theirs = files(one), files(other)
    same = (torch.equal(ours[name].get_tensor(name), theirs[name].get_tensor(name)) for name in ours)
    if ours.keys() != theirs.keys() or not all(same):
        raise SystemExit("the streamed model is not the one that from_pretrained and save_pretrained give")


def measure(root: Path, quick: bool) -> dict[str, Any]:
    size, source, streamed, target = SIZES[quick], root / "source", root / "streamed", root / "target"
    source.mkdir()
    at("making the checkpoint")
    in_child("make", source, quick=quick)
    in_child("stream", source, streamed, quick=quick)
    seconds: dict[str, list[float]] = {"stream": [], "cp": [], "build": []}
    peaks: dict[str, list[float]] = {"stream": [], "build": []}

    def turn(side: str) -> None:
        settle(source, target)
        at(f"{side}, turn {len(seconds[side]) + 1}")
        said = in_child(side, source, target, quick=quick)
        seconds[side].append(said["seconds"])
        peaks[side].append(said["peak_mb"])

    for number in range(size.turns):
        turn("stream")
        settle(streamed, target)
        seconds["cp"].append(copy(streamed, target))
        if number < size.builds:
            turn("build")
            if number == 0:
                check_alike(streamed, target)
    return {
        "source_mb": _megabytes(source),
        "kept_mb": _megabytes(streamed),
        "seconds": {side: statistics.median(found) for side, found in seconds.items()},
        "range": {side: f"{min(found):.2f} to {max(found):.2f} in {len(found)}" for side, found in seconds.items()},
        "peak_mb": {side: max(found) for side, found in peaks.items()},
    }


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def show(found: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=f"{found['source_mb']:.0f} MB in shards, {found['kept_mb']:.0f} MB kept")
    for heading in ("side", "median seconds", "least to most, in turns", "MB/s of what is kept", "peak MB"):
        table.add_column(heading, justify="right")
    names = {"stream": "layercut", "cp": "cp of the kept bytes", "build": "from_pretrained + save_pretrained"}
    for side, name in names.items():
        taken, peak = found["seconds"][side], found["peak_mb"].get(side)
        cells = [f"{taken:.3f}", found["range"][side], f"{found['kept_mb'] / taken:.0f}"]
        table.add_row(name, *cells, "–" if peak is None else f"{peak:.0f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="0.4 GB instead of 4 GB")
    parser.add_argument("--folder", type=Path, help="where the files are made, and removed; needs 3 times their size")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, *paths = given.child
        taken = CHILDREN[what](*map(Path, paths), SIZES[given.quick])
        print(json.dumps({"seconds": taken, "peak_mb": peak_mb()}))
        return
    machine()
    with tempfile.TemporaryDirectory(prefix="layercut-surgery-", dir=given.folder) as root:
        found = measure(Path(root), given.quick)
    show(found)
    ours = found["seconds"]["stream"]
    ratios = {"vs_cp": ours / found["seconds"]["cp"], "vs_from_pretrained": ours / found["seconds"]["build"]}
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    print(json.dumps({"vs_cp": rounded["vs_cp"], "peak_mb": round(found["peak_mb"]["stream"], 1), **rounded}))


if __name__ == "__main__":
    main()
