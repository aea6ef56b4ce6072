"""The one gate that a path in a request goes through."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from api_schemas.errors import LayercutError

#: What Linux opens.
MAX_PATH, MAX_NAME = 4096, 255

What = Literal["model", "dataset"]

SETTINGS: dict[What, str] = {"model": "LAYERCUT_MODEL_ROOTS", "dataset": "LAYERCUT_DATA_ROOTS"}


def inside_roots(path: str, roots: Sequence[Path], *, what: What, param: str) -> Path:
    """The real path of an existing file or folder under one of ``roots``.

    Symbolic links are followed first, so one that leads out is refused like any other path outside. Whether something
    exists outside the roots is never told. Raises ``<what>_not_allowed`` and ``<what>_not_found``.
    """
    if len(path) > MAX_PATH or any(len(name.encode("utf-8", "surrogatepass")) > MAX_NAME for name in path.split("/")):
        raise LayercutError(
            f"{what}_not_allowed",
            f"the path is too long: it has at most {MAX_PATH} characters, and a name in it {MAX_NAME} bytes",
            param=param,
        )
    if not roots:
        raise LayercutError(
            f"{what}_not_allowed",
            f"paths are not allowed here: {SETTINGS[what]} names no folder that a {what} may lie in",
            param=param,
        )
    if not path.startswith("/") or ".." in path.split("/"):
        raise LayercutError(
            f"{what}_not_allowed",
            f"{path!r} is not allowed: a path must be absolute, without '~' and '..'",
            param=param,
        )
    real = _resolve(path)
    if real is None or not is_inside(real, roots):
        raise LayercutError(
            f"{what}_not_allowed",
            f"{path!r} is not under an allowed folder; {SETTINGS[what]} of the service names those that are",
            param=param,
        )
    if not real.exists():
        raise LayercutError(f"{what}_not_found", f"there is no file or folder {path!r}", param=param)
    return real


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """Whether ``path``, with its links followed, lies under one of ``roots``."""
    real = _resolve(str(path))
    return real is not None and any(real.is_relative_to(root.resolve()) for root in roots)


def _resolve(path: str) -> Path | None:
    try:
        real = Path(path).resolve()
        real.exists()  # a name that is too long, or a folder that may not be entered, shows only here
    except (OSError, RuntimeError, ValueError):
        return None
    return real
