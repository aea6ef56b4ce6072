"""What kept an object from being read, told apart: without the address that was asked, in which keys may stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from obstore.exceptions import BaseError, PreconditionError

from api_schemas.errors import LayercutError
from sources.objects.addresses import Address
from sources.paths import What

AWAY = "source_unavailable"

#: Of stores that are away: what each does.
_AWAY = {
    "busy": "asks for fewer requests than it gets",
    "stalled": "did not answer in time",
    "unreachable": "cannot be reached, or answers with an error",
}


class Changed(Exception):
    """The object is another than the one that was pinned."""


class Fault(Protocol):
    """What is wrong with a store, which is `missing`, `refused`, `busy`, `stalled` or `unreachable`; ``why`` it
    refuses.
    """

    @property
    def kind(self) -> str: ...

    @property
    def why(self) -> str: ...


#: Reads an error of the client; None where the store is sound, as in that there is no such object.
FaultOf = Callable[[BaseException], Fault | None]


@dataclass(frozen=True)
class Asked:
    """What is read, for whom: ``param`` is the field of the request that names it. ``waits``: whether who asks can
    wait until somebody has mended what the store refuses.
    """

    address: Address
    what: What
    param: str
    waits: bool = False

    def fault(self, code: str, message: str) -> LayercutError:
        return LayercutError(code, message, param=self.param)


@contextmanager
def explained(asked: Asked, fault_of: FaultOf) -> Iterator[None]:
    """What an object store raises becomes ``<what>_not_found``, ``<what>_not_allowed``, ``<what>_invalid`` where the
    object changed, or ``source_unavailable``.
    """
    try:
        yield
    except (Changed, PreconditionError):
        text = f"{asked.address} was changed after it was looked at: POST the job again when nobody writes to it"
        raise asked.fault(f"{asked.what}_invalid", text) from None
    except (BaseError, OSError) as error:
        raise _told(asked, fault_of(error)) from None
    except ValueError as error:  # of an address that no client can be made for, as the environment names no account
        raise _refused(asked, str(error)) from None


def missing(asked: Asked) -> LayercutError:
    return asked.fault(f"{asked.what}_not_found", f"there is nothing at {asked.address}")


def _told(asked: Asked, fault: Fault | None) -> LayercutError:
    if fault is None:
        return missing(asked)
    if fault.kind == "missing":
        text = f"there is no bucket {asked.address.bucket!r}, which {asked.address} names"
        return asked.fault(f"{asked.what}_not_found", text)
    if fault.kind == "refused":
        return _refused(asked, f"{fault.why}, or there is no such object and it may not be listed")
    return asked.fault(
        AWAY, f"the object store of {asked.address} {_AWAY[fault.kind]}; the same request may work later"
    )


def _refused(asked: Asked, why: str) -> LayercutError:
    text = f"the object store refuses to let this service read {asked.address}: {why}; its operator has to mend that"
    return asked.fault(AWAY if asked.waits else f"{asked.what}_not_allowed", text)
