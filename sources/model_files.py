"""The files of a model that are read, by name; of a folder or a repository, no others are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from api_schemas.errors import LayercutError
from api_schemas.figures import FILES as FIGURES
from api_schemas.formats import FORMATS
from sources.config_keys import short
from sources.facts import INDEX, WEIGHTS
from sources.headers import invalid
from sources.sentence_modules import MODULE_FILES, TOP_FILES
from sources.strict_json import MIB, limit_of

#: What a stock class, its tokenizer and sentence-transformers read beside the weights. No pickle, no code.
SMALL = (
    "config.json",
    "generation_config.json",
    INDEX,
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    *TOP_FILES,
)
#: Of those that are no JSON, which has limits of its own; the largest that are known have 17 MB.
MAX_SMALL = 64 * MIB

LONGEST_TERMS = 100
MAX_TERMS = MIB
#: What says whose the model is: how many of a pattern, and of how many bytes; what is beyond is left out.
NOTICES = {"README.md": (1, 16 * MIB), "LICENSE*": (5, MAX_TERMS), "NOTICE*": (5, MAX_TERMS)}
#: Those of them that go with whatever is made of the model; by its name, each is text.
_TERMS = re.compile(r"(LICENSE|NOTICE)(\.[0-9]+|[-_][A-Za-z0-9]+)*(\.(md|txt|rst))?")

SHARDS = "model-*-of-*.safetensors"
PATTERNS = [*SMALL, WEIGHTS, SHARDS, *NOTICES, *(name for name in MODULE_FILES if name not in TOP_FILES)]

#: What jobs deliver, and no other file is published: what is read of a model, as stock classes write it, its chat
#: templates, and what says where it comes from, with its figures.
EXPORTED = (
    *SMALL,
    WEIGHTS,
    f"model-{5 * '[0-9]'}-of-{5 * '[0-9]'}.safetensors",
    *(name for name in MODULE_FILES if name not in TOP_FILES),
    "additional_chat_templates/*.jinja",
    "report.json",
    "README.md",
    "SHA256SUMS",
    *FIGURES,
    *(file for row in FORMATS.values() for file in row.files),
)

#: Folders that some of them are in.
FOLDERS = frozenset(pattern.partition("/")[0] for pattern in PATTERNS if "/" in pattern)
EXPORTED_FOLDERS = frozenset(pattern.partition("/")[0] for pattern in EXPORTED if "/" in pattern)


def is_allowed(name: str, patterns: Collection[str] = PATTERNS) -> bool:
    """Whether ``name``, with at most one folder before it, is one of ``patterns``. A star stands for no slash."""
    return any(fnmatchcase(name, pattern) for pattern in patterns if pattern.count("/") == name.count("/"))


def is_folder(name: str, folders: Collection[str] = FOLDERS) -> bool:
    """Whether allowed files may be in a folder of that name."""
    return any(fnmatchcase(name, pattern) for pattern in folders)


def is_exported(name: str) -> bool:
    """Whether a file that a job delivers may have that path."""
    plain = name.isprintable() and not any(part.startswith(".") or "\\" in part for part in name.split("/"))
    return plain and (is_allowed(name, EXPORTED) or is_terms(name))


def is_notice(name: str) -> bool:
    """Whether ``name`` is that of a file that says whose the model is, which is left out where it is none."""
    return "/" not in name and any(fnmatchcase(name, pattern) for pattern in NOTICES)


def is_terms(name: str) -> bool:
    """Whether ``name`` is that of a license, or of a notice that a license asks to be carried along."""
    return len(name) <= LONGEST_TERMS and _TERMS.fullmatch(name) is not None


def check_shards(shards: Collection[str], present: Collection[str], id: str) -> None:
    """Raise ``model_invalid`` for an index that lists a file that is not there, or is not called as shards are."""
    _check_names(shards)
    missing = [name for name in shards if name not in present]
    if missing:
        raise invalid(f"{INDEX} of {id!r} lists {missing[0]!r}, which is not there")


def check_total(sizes: Mapping[str, int], most: int, id: str) -> None:
    """Raise ``ceiling_passed`` for safetensors files of more than ``most`` bytes in all; ``sizes`` has those of each.

    This is what bounds hashing and staging. Whether a file is sparse is not asked: one of a terabyte costs as much to
    read with holes as without, and honest weights have few blocks where the file system compresses.
    """
    total = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
    if total > most:
        raise LayercutError(
            "ceiling_passed",
            f"the weights of {id!r} have {total} bytes, more than the {most} that LAYERCUT_MAX_MODEL_BYTES allows",
            param="/model",
        )


def needed_files(sizes: Mapping[str, int], shards: Collection[str], modules: Collection[str] = ()) -> list[str]:
    """The files of a model that are fetched and staged, of all that are there: ``sizes`` has their bytes, by path.

    ``shards`` are those that the checked index lists; none: the weights are one file. ``modules`` are the files of the
    checked sentence-transformers modules. What else has an allowed name, such as a shard that no index lists, is left
    out. Raises ``model_invalid`` for a shard with another name, and for a small file that is too large to be read.
    """
    _check_names(shards)
    weights = [*(shards or [WEIGHTS]), *(name for name in modules if name.endswith(".safetensors"))]
    small = [name for name in dict.fromkeys((*SMALL, *modules)) if name in sizes and name not in weights]
    for name in small:
        limit = limit_of(name) if name.endswith(".json") else MAX_SMALL
        if sizes[name] > limit:
            raise invalid(f"{name} has {sizes[name]} bytes; at most {limit} are read")
    return [*small, *(name for name in dict.fromkeys(weights) if name in sizes), *_notices(sizes)]


def _check_names(shards: Collection[str]) -> None:
    odd = next((name for name in shards if not fnmatchcase(name, SHARDS)), None)
    if odd is not None:
        raise invalid(f"{INDEX} lists {short(odd)}: shards are called {SHARDS}")


def _notices(sizes: Mapping[str, int]) -> list[str]:
    found: list[str] = []
    for pattern, (most, limit) in NOTICES.items():
        named = sorted(name for name in sizes if "/" not in name and fnmatchcase(name, pattern))
        found += [name for name in named if sizes[name] <= limit][:most]
    return found
