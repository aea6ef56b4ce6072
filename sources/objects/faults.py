"""What kept an object from being read, told apart: without the address that was asked, in which keys may stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from obstore import exceptions as objects

from api_schemas.errors import LayercutError
from sources.objects.addresses import Address
from sources.paths import What

AWAY = "source_unavailable"


class Changed(Exception):
    """The object is another than the one that was pinned."""


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
def explained(asked: Asked) -> Iterator[None]:
    """What an object store raises becomes ``<what>_not_found``, ``<what>_not_allowed``, ``<what>_invalid`` where the
    object changed, or ``source_unavailable``.
    """
    try:
        yield
    except (objects.BaseError, OSError, Changed) as error:
        raise _fault(asked, error) from None


def missing(asked: Asked) -> LayercutError:
    return asked.fault(f"{asked.what}_not_found", f"there is nothing at {asked.address}")


def _fault(asked: Asked, error: Exception) -> LayercutError:
    said, address = str(error), asked.address
    if isinstance(error, (Changed, objects.PreconditionError)):
        text = f"{address} was changed after it was looked at: POST the job again when nobody writes to it"
        return asked.fault(f"{asked.what}_invalid", text)
    if _NO_BUCKET.search(said):
        return asked.fault(f"{asked.what}_not_found", f"there is no bucket {address.bucket!r}, which {address} names")
    if isinstance(error, FileNotFoundError):
        return missing(asked)
    if isinstance(error, _REFUSALS) or _REFUSED.search(said):
        return asked.fault(
            AWAY if asked.waits else f"{asked.what}_not_allowed",
            f"the object store refuses to let this service read {address}: the service has no key for it, or one that"
            " may not, or there is no such object and it may not be listed; its operator has to mend that",
        )
    return asked.fault(AWAY, f"the object store of {address} {_why_away(said)}; the same request may work later")


def _why_away(said: str) -> str:
    if _TIMEOUT.search(said):
        return "did not answer in time"
    if _CONNECT.search(said):
        return "cannot be reached"
    status = _STATUS.search(said)
    return f"answered with status {status[1]}" if status else "gave no answer that could be read"


_REFUSALS = (objects.PermissionDeniedError, objects.UnauthenticatedError)
#: In the words of S3, GCS and Azure.
_NO_BUCKET = re.compile(r"<Code>(NoSuchBucket|ContainerNotFound)<|bucket does not exist", re.IGNORECASE)
_STATUS = re.compile(r"status code: (\d{3})")
#: Of a list, refusals are no error of their own. The last is of a client that has been given no account.
_REFUSED = re.compile(r"status code: 40[13]\b|MissingAccount|MissingCredentials|MissingRegion")
_TIMEOUT = re.compile(r"kind: Timeout|operation timed out|TimedOut", re.IGNORECASE)
_CONNECT = re.compile(r"kind: Connect|dns error|connection refused", re.IGNORECASE)
