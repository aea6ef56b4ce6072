"""Files of the user's own, asked for at POST and read by the runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from api_schemas.task_spec import TaskSpec
from api_schemas.text_spec import TextSpec
from sources.settings import SourceSettings
from sources.tasks import TaskData, check_dataset, load_task


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def load(spec: dict[str, Any], root: Path, seed: int = 1, text: TextSpec | None = None) -> TaskData:
    """As a job's runner has it: read in the way that was decided at POST."""
    settings = SourceSettings(data_roots=[root])
    return load_task(check_dataset(TaskSpec.model_validate(spec), settings), settings, seed, text)


def refused(spec: dict[str, Any], root: Path, text: str, param: str = "/task/dataset") -> None:
    """The same error at POST and in the runner."""
    settings, asked = SourceSettings(data_roots=[root]), TaskSpec.model_validate(spec)
    with pytest.raises(LayercutError, match=text) as at_post:
        check_dataset(asked, settings)
    with pytest.raises(LayercutError, match=text) as in_runner:
        load_task(asked, settings, seed=0)
    assert at_post.value.message == in_runner.value.message
    assert (at_post.value.code, at_post.value.param) == ("dataset_invalid", param)
