"""SHA256SUMS: the list of hashes that ``sha256sum -c`` takes. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

SUMS = "SHA256SUMS"


def sums_text(digests: Mapping[str, str]) -> str:
    """The list of ``digests``, by the names of their files."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
