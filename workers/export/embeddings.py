"""A sentence-transformers folder over fewer layers: its modules' files, and what its vectors must be."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from sources.model_files import PATTERNS
from sources.sentence_transformers import Modules
from workers.export.files import as_exported
from workers.export.verification.embedding_checks import described, embeddings_of, load_embedding_model

TEXTS = (
    "the plot makes no sense",
    "My flight to Zürich was late AGAIN, and no one could say why: 3 hours!",
    "what a lovely little play, full of wit and warmth; an honest, moving picture of a hard year",
)
WORDS = " ".join(TEXTS).split()
#: Tokens. A text that is too long is tried up to here: on a large model it takes minutes.
LONGEST_TRIED = 1024
#: Prompts tried by name, beside the default one.
PROMPTS_TRIED = 4


@dataclass(frozen=True)
class Embeddings:
    """What the exported folder is asked to make of texts: ``verification/`` says what is what."""

    vectors: str
    texts: list[str]
    prompts: list[str]
    described: dict[str, Any]

    def asked(self) -> dict[str, Any]:
        return asdict(self)


def copy_modules(modules: Modules, source: Path, folder: Path) -> None:
    """Put the files of ``modules`` beside the exported model, byte for byte.

    Weights of a Dense keep their type, whatever the model is exported in: sentence-transformers loads all of them in
    the model's.
    """
    for name in modules.files:
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, target)
        target.chmod(0o644)


@torch.inference_mode()
def expect_embeddings(
    modules: Modules, source: Path, model: PreTrainedModel, path: Path, *, dtype: torch.dtype, positions: int | None
) -> Embeddings:
    """Write to ``path`` what the modules in ``source``, and none of the exported files, make of texts over ``model``.

    ``model``, of so many ``positions``, must hold its weights as they are exported; it is used in ``dtype``. Raises
    ``model_invalid`` where stock sentence-transformers cannot use the source.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as view:
            _link(modules, source, Path(view))
            loaded = load_embedding_model(view, dtype)
        loaded[0].model = as_exported(model, dtype).base_model
        texts = _texts(loaded.max_seq_length, positions)
        prompts = sorted(loaded.prompts)[:PROMPTS_TRIED]
        vectors = embeddings_of(loaded, texts, prompts)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        # Whatever it was, it is the folder that cannot be used so.
        text = f"sentence-transformers cannot encode with this folder: {type(error).__name__}: {error}"
        raise LayercutError("model_invalid", text[:500], param="/model") from error
    save_file({"expected": vectors.contiguous()}, path)
    return Embeddings(str(path.resolve()), texts, prompts, described(loaded))


def _link(modules: Modules, source: Path, view: Path) -> None:
    """A folder of what was checked and nothing else: an adapter, say, would be loaded from wherever it names."""
    checked = [path.name for path in source.iterdir() if any(fnmatch(path.name, pattern) for pattern in PATTERNS)]
    for name in {*checked, *modules.files} - {"README.md"}:
        (view / name).parent.mkdir(exist_ok=True)
        (view / name).symlink_to((source / name).resolve())


def _texts(longest: int, positions: int | None) -> list[str]:
    """Some short ones, and one that must be cut, where that can be tried."""
    if longest > min(LONGEST_TRIED, positions or LONGEST_TRIED):
        return list(TEXTS)
    return [*TEXTS, " ".join(_cycled(WORDS, longest + 8))]


def _cycled(words: Sequence[str], count: int) -> list[str]:
    return [words[index % len(words)] for index in range(count)]
