"""Ids that sort by time, so that a list needs no other order and an id is its own cursor."""

from __future__ import annotations

import re
import secrets
import time

# Crockford's base 32: lower case sorts alike in SQLite, in Python and in every collation of PostgreSQL.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS = 11  # 55 bits of microseconds: until the year 3111
_RANDOM_DIGITS = 13  # 65 bits

_JOB_ID = re.compile(rf"job_[{_ALPHABET}]{{{_TIME_DIGITS + _RANDOM_DIGITS}}}")


def new_job_id() -> str:
    return new_id("job")


def new_id(kind: str) -> str:
    """``kind`` + ``_`` + microseconds since 1970 + chance."""
    moment = time.time_ns() // 1000
    return f"{kind}_{_digits(moment, _TIME_DIGITS)}{_digits(secrets.randbits(5 * _RANDOM_DIGITS), _RANDOM_DIGITS)}"


def is_job_id(text: str) -> bool:
    """Whether ``text`` has the shape of a job's id."""
    return _JOB_ID.fullmatch(text) is not None


def _digits(number: int, width: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(width)))
