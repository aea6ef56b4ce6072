"""What is known of a model's folder without loading it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources.models import inspect
from sources.settings import SourceSettings


def facts(folder: Path) -> ModelFacts:
    found = inspect(ModelRef(id=str(folder)), SourceSettings(model_roots=[folder.parent]))
    assert found is not None
    return found


def refused(folder: Path, code: str, text: str) -> None:
    with pytest.raises(LayercutError, match=text) as caught:
        facts(folder)
    assert caught.value.code == code
    assert caught.value.param == "/model"
