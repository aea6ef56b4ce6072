"""Rows that a tiny BERT learns from."""

from __future__ import annotations

import pytest

from tests.support.trainings import features_of
from workers.data.features import Features


@pytest.fixture
def features() -> Features:
    return features_of("bert")
