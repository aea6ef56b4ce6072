"""One gateway for all attacks that need no worker: what one leaves behind, the next one meets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.attack_target import Target, target


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("attacked")) as made:
        yield made
        made.check_kept()
