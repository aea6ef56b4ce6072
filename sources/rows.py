"""What every source of data becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rows:
    """Labelled texts: one or two texts a row, and its label id (or number, for a regression).

    ``sha256`` is that of the bytes of the files it was read from; ``dropped`` counts the rows left out as unusable.
    """

    texts: list[tuple[str, ...]]
    labels: list[int] | list[float]
    source: str
    sha256: str
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    def digest(self) -> str:
        """sha256 of the texts and labels themselves, in their order: of what is learned, wherever it was read."""
        sizes = [[len(text) for text in row] for row in self.texts]
        # JSON may have brought lone surrogates, which plain UTF-8 refuses.
        texts = "".join(text for row in self.texts for text in row).encode("utf-8", "surrogatepass")
        return hashlib.sha256(repr((sizes, self.labels)).encode() + texts).hexdigest()

    def pick(self, indexes: Iterable[int], source: str) -> Rows:
        """The rows at ``indexes``, in that order."""
        chosen = list(indexes)
        texts = [self.texts[index] for index in chosen]
        return Rows(texts, [self.labels[index] for index in chosen], source, self.sha256, self.dropped)


def hash_files(paths: Iterable[Path]) -> str:
    """sha256 of the bytes of ``paths``, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
