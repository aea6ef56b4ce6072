"""Ids that sort by time, so that a list needs no other order and an id is its own cursor."""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime, timedelta

# Crockford's base 32: lower case sorts alike in SQLite, in Python and in every collation of PostgreSQL.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS = 11  # 55 bits of microseconds: until the year 3111
_RANDOM_DIGITS = 13  # 65 bits
_LAST_MOMENT = 32**_TIME_DIGITS - 1

_JOB_ID = re.compile(rf"job_[{_ALPHABET}]{{{_TIME_DIGITS + _RANDOM_DIGITS}}}")
_UPLOAD_ID = re.compile(rf"upl_[{_ALPHABET}]{{{_TIME_DIGITS + _RANDOM_DIGITS}}}")
_STUDY_ID = re.compile(rf"study_[{_ALPHABET}]{{{_TIME_DIGITS + _RANDOM_DIGITS}}}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_job_id(moment: datetime, newest: str | None = None) -> str:
    """``job_`` + microseconds since 1970 + chance; later than ``newest``, the last id that was given.

    ``moment`` is the database's: the clocks of several gateways differ. ``newest`` mends what is left: SQLite tells
    thousandths alone, and a clock may be set back.
    """
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    if newest is not None and is_job_id(newest):
        microseconds = max(microseconds, _moment(newest) + 1)
    return _made("job", min(microseconds, _LAST_MOMENT))


def new_id(kind: str) -> str:
    """``kind`` + ``_`` + microseconds since 1970, by this host's clock, + chance."""
    return _made(kind, time.time_ns() // 1000)


def _made(kind: str, microseconds: int) -> str:
    return (
        f"{kind}_{_digits(microseconds, _TIME_DIGITS)}{_digits(secrets.randbits(5 * _RANDOM_DIGITS), _RANDOM_DIGITS)}"
    )


def is_job_id(text: str) -> bool:
    """Whether ``text`` has the shape of a job's id."""
    return _JOB_ID.fullmatch(text) is not None


def is_upload_id(text: str) -> bool:
    """Whether ``text`` has the shape of an upload's id."""
    return _UPLOAD_ID.fullmatch(text) is not None


def is_study_id(text: str) -> bool:
    """Whether ``text`` has the shape of a study's id."""
    return _STUDY_ID.fullmatch(text) is not None


def _moment(job_id: str) -> int:
    digits = job_id.removeprefix("job_")[:_TIME_DIGITS]
    return sum(_ALPHABET.index(digit) << 5 * place for place, digit in enumerate(reversed(digits)))


def _digits(number: int, width: int) -> str:
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(width)))
