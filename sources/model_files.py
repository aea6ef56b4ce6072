"""The files of a model that are read, by name; of a folder or a repository, no others are."""

from __future__ import annotations

from fnmatch import fnmatchcase

from sources.facts import INDEX, WEIGHTS
from sources.sentence_modules import MODULE_FILES

# Everything a stock class, its tokenizer and sentence-transformers load, and what says whose the model is. No pickle,
# no code.
PATTERNS = [
    "config.json",
    "generation_config.json",
    WEIGHTS,
    INDEX,
    "model-*-of-*.safetensors",
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
    "README.md",
    "LICENSE*",
    *MODULE_FILES,
]

#: Folders that some of them are in.
FOLDERS = frozenset(pattern.partition("/")[0] for pattern in PATTERNS if "/" in pattern)


def is_allowed(name: str) -> bool:
    """Whether ``name``, with at most one folder before it, is one of ``PATTERNS``. A star stands for no slash."""
    return any(fnmatchcase(name, pattern) for pattern in PATTERNS if ("/" in pattern) == ("/" in name))


def is_folder(name: str) -> bool:
    """Whether allowed files may be in a folder of that name."""
    return any(fnmatchcase(name, pattern) for pattern in FOLDERS)
