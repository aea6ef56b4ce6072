"""What is wrong with an object store, read from what its client says: it has few kinds of errors, and many words."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

#: Two that stay until an operator comes, and three that pass.
Kind = Literal["missing", "refused", "busy", "stalled", "unreachable"]
LASTING: frozenset[Kind] = frozenset({"missing", "refused"})


class Fault(NamedTuple):
    """``sentence`` has the store's address, and nothing else of what the client said: no key, and no name of a file.
    ``why`` is of one that refuses.
    """

    kind: Kind
    sentence: str
    why: str = ""


_MEND = "its operator has to mend that"
_SOON = "the same request may work in some seconds"
_KEY = "its key has expired or was revoked, or may not do this"
_FOLDER = "its folder is read-only, or belongs to somebody else"

_SENTENCES: dict[Kind, str] = {
    "missing": f"{{store}} has no such bucket; {_MEND}",
    "refused": f"{{store}} refuses what the service asks of it: {{why}}; {_MEND}",
    "busy": f"{{store}} asks for fewer requests than it gets; {_SOON}",
    "stalled": f"{{store}} takes connections and does not answer; {_SOON}",
    "unreachable": f"{{store}} does not answer; {_SOON}",
}

_TOKEN = "the token that its key goes with has expired"
_REGION = "its bucket is in another region, which AWS_REGION is to name"
_RIGHT = "its key may not do this"
_SECRET = "its secret key does not belong to its access key"

#: By the code that S3, GCS or Azure gives.
_CODES: dict[str, tuple[Kind, str]] = {
    "NoSuchBucket": ("missing", ""),
    "ContainerNotFound": ("missing", ""),
    "InvalidAccessKeyId": ("refused", "its access key is not known there"),
    "SignatureDoesNotMatch": ("refused", _SECRET),
    "AuthenticationFailed": ("refused", "its key is not the one of the account"),
    "ExpiredToken": ("refused", _TOKEN),
    "InvalidToken": ("refused", _TOKEN),
    "TokenRefreshRequired": ("refused", _TOKEN),
    "RequestTimeTooSkewed": ("refused", "the clocks of the service and of the store differ by too much"),
    "AccessDenied": ("refused", _RIGHT),
    "AuthorizationPermissionMismatch": ("refused", _RIGHT),
    "AuthorizationHeaderMalformed": ("refused", _REGION),
    "PermanentRedirect": ("refused", _REGION),
    "InvalidBucketName": ("refused", "its bucket cannot be called that"),
    "SlowDown": ("busy", ""),
    "ServerBusy": ("busy", ""),
    "TooManyRequests": ("busy", ""),
}

#: By the client's own words; the first that is found counts.
_WORDS: tuple[tuple[str, Kind, str], ...] = (
    ("//169.254.|//metadata.google.|//\\[fd00:ec2::", "refused", "it was given no key, and this host has no role"),
    ("source: BadScheme", "refused", "its address is http://, which is used only with AWS_ALLOW_HTTP=true"),
    ("incorrectly configured region", "refused", _REGION),
    ("status code: 40[13]", "refused", _KEY),
    ("status code: 429", "busy", ""),
    ("kind: Timeout|source: TimedOut", "stalled", ""),
)

_CODE = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
#: Without a name and a password that stand in it; of its path, no more than the bucket.
_ADDRESS = re.compile(r"\b(https?://)(?:[^\s/@?]*@)?([^\s/@?]+(?:/[^\s/?]+)?)")
_METADATA = re.compile(_WORDS[0][0])
_NUMBER = re.compile(r"\(os error (\d+)\)")
_NUMBERS_REFUSE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def fault_of(error: BaseException) -> Fault | None:
    """What ``error``, as obstore raises it, says of the store; None where the store is sound, as in that a file of it
    is not there.
    """
    if not isinstance(error, BaseError | FileNotFoundError):
        return None
    said = str(error)
    kind, why = _read(error, said)
    if isinstance(error, FileNotFoundError) and kind != "missing":
        return None
    return Fault(kind, _SENTENCES[kind].format(store=_named(said), why=why), why)


def first_fault(errors: Iterable[BaseException]) -> Fault | None:
    return next((fault for error in errors if (fault := fault_of(error))), None)


def _read(error: BaseException, said: str) -> tuple[Kind, str]:
    code = _CODE.search(said)
    if code and (known := _CODES.get(code[1] or code[2])):
        return known
    found = next(((kind, why) for words, kind, why in _WORDS if re.search(words, said)), None)
    return found or _of_folder(error, said)


def _of_folder(error: BaseException, said: str) -> tuple[Kind, str]:
    number = _NUMBER.search(said)
    if number and int(number[1]) in _NUMBERS_REFUSE:
        return "refused", _FOLDER
    return ("refused", _KEY) if isinstance(error, PermissionDeniedError | UnauthenticatedError) else ("unreachable", "")


def _named(said: str) -> str:
    address = None if _METADATA.search(said) else _ADDRESS.search(said)
    return f"the artifact store at {address[1]}{address[2]}" if address else "the artifact store"
