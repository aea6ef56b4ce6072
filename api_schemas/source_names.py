"""How a request names a model or data that lies neither on the hub nor in a folder of the service's."""

from __future__ import annotations

import re

from api_schemas.uploads import PREFIX as UPLOAD
from api_schemas.uploads import UPLOAD_ID

#: An object, or all below a prefix, of an object store: `s3://bucket/key`.
SCHEMES = ("s3", "gs", "az")
OBJECT_REF = rf"({'|'.join(SCHEMES)})://"

_OBJECT = re.compile(OBJECT_REF)
_UPLOAD = re.compile(rf"{UPLOAD}({UPLOAD_ID})(?:/(.+))?", re.DOTALL)


def is_upload(name: str) -> bool:
    return name.startswith(UPLOAD)


def is_object(name: str) -> bool:
    return _OBJECT.match(name) is not None


def is_stored(name: str) -> bool:
    """Whether it is kept where files are read by ranges, and not by a path."""
    return is_upload(name) or is_object(name)


def upload_of(name: str) -> tuple[str, str | None] | None:
    """The upload's id, and the file of it that is meant, if one is; None where the name is none of an upload."""
    found = _UPLOAD.fullmatch(name)
    return None if found is None else (found[1], found[2])
