"""Which error of the table an exception is, where it is not one already."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from api_schemas.errors import LayercutError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

#: Errors of a device, not of what it was given; by name, as this module is imported where torch must not be.
OF_DEVICES = frozenset({"AcceleratorError"})

#: Compiled libraries tell these only in words. Lower case.
WORDS = (
    ("storage_full", ("no space left on device", "disk quota exceeded", "storagefull")),
    ("out_of_memory", ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")),
    ("out_of_memory", ("cublas_status_alloc_failed",)),
)


def explained(error: BaseException) -> LayercutError:
    """``error`` as one of the table; ``internal`` where nothing better fits."""
    if isinstance(error, LayercutError):
        return error
    kind = type(error).__name__
    return LayercutError(code_of(error), f"{kind}: {error}" if str(error) else kind)


def code_of(error: BaseException) -> str:
    return next((code for link in _chain(error) if (code := _code_of_one(link))), "internal")


def _code_of_one(error: BaseException) -> str | None:
    if isinstance(error, LayercutError):
        return error.code
    # torch.OutOfMemoryError goes by its name: this module is imported where torch must not be.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out_of_memory"
    if isinstance(error, OSError) and error.errno in FULL:
        return "storage_full"
    text = str(error).lower()
    return next((code for code, words in WORDS if any(word in text for word in words)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
