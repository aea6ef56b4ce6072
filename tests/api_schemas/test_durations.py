"""How long something takes, in words."""

from __future__ import annotations

import pytest

from api_schemas.durations import about


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "about 5 s"),
        (42, "about 40 s"),
        (59.9, "about 60 s"),
        (61, "about 1 min"),
        (150, "about 2 min"),
        (3599, "about 1 h"),
        (7800, "about 2 h 10 min"),
        (7200, "about 2 h"),
        (40 * 3600, "about 40 h"),
    ],
)
def test_it_is_said_as_exactly_as_it_is_known(seconds: float, said: str) -> None:
    assert about(seconds) == said
