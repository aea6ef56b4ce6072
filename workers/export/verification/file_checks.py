"""Of the files: no code in them, their hashes, their size, and tensors that are copies."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .loaded import Said, listed

SAFE_NAMES = {"SHA256SUMS"}
TERMS = ("LICENSE", "NOTICE")
SAFE_SUFFIXES = {".safetensors", ".json", ".txt", ".model", ".jinja", ".md", ".onnx", ".onnx_data"}
# They start with what may be any bytes: the length of a header, and numbers.
ANY_START = {".safetensors", ".onnx_data"}
PICKLE_STARTS = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))


def check_files(asked: dict[str, Any], _: Any) -> Said:
    """Only files that hold no code: no pickle by name, and none by content."""
    files = [path for path in Path(asked["folder"]).rglob("*") if not path.is_dir()]
    bad = sorted(path.name for path in files if not _is_safe(path))
    return not bad, f"files that could hold code: {', '.join(bad)}" if bad else f"{len(files)} files, none holds code"


def _is_safe(path: Path) -> bool:
    if path.is_symlink() or not (path.name in SAFE_NAMES or path.suffix in SAFE_SUFFIXES or _is_terms(path)):
        return False
    if path.suffix in ANY_START:
        return True
    with path.open("rb") as file:
        return not file.read(4).startswith(PICKLE_STARTS)


def _is_terms(path: Path) -> bool:
    """A license by any name that says which, as LICENSE-MIT and LICENSE-2.0."""
    text = path.suffix in ("", ".rst") or path.suffix[1:].isdigit()
    return text and path.name.startswith(TERMS)


def check_hashes(asked: dict[str, Any], _: Any) -> Said:
    """SHA256SUMS names every file, and every file has its hash."""
    folder = Path(asked["folder"])
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    there.pop("SHA256SUMS")
    if sums.keys() != there.keys():
        return False, f"files and SHA256SUMS differ: {', '.join(sorted(sums.keys() ^ there.keys()))}"
    wrong = sorted(name for name, path in there.items() if _sha256(path) != sums[name])
    return not wrong, f"wrong hash: {', '.join(wrong)}" if wrong else f"{len(sums)} files have their sha256"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_tensors(asked: dict[str, Any], _: Any) -> Said:
    """Every tensor has type, shape and bytes of the one that it is a copy of; and there is no other."""
    source, origins = asked["source"]["folder"], dict(asked["source"]["origins"])
    count = len(origins)
    for path in sorted(Path(asked["folder"]).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                home, old = origins.pop(name)
                with safe_open(Path(source) / home, "pt") as original:
                    if not _same(file.get_tensor(name), original.get_tensor(old)):
                        return False, f"{name} is not {old} of the original"
    return not origins, f"not there: {listed(origins)}" if origins else f"{count} tensors have the original's bytes"


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (one, other)))


def check_size(asked: dict[str, Any], _: Any) -> Said:
    """The weights take fewer bytes than those of the full model."""
    size, source = sum(map(_tensor_bytes, Path(asked["folder"]).glob("*.safetensors"))), asked["source_bytes"]
    if asked["shared_layers"]:
        return True, f"{size} bytes: layers share their weights, so dropping some does not make the file smaller"
    return 0 < size < source, f"{size} bytes of weights, {source} before"


def _tensor_bytes(path: Path) -> int:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
    return path.stat().st_size - 8 - int(length)
