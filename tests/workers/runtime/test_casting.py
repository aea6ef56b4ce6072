"""A model in another type is the one that its files give in that type."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from api_schemas.architectures import ARCHITECTURES
from tests.support.tiny_models import build, inputs_of
from workers.runtime.casting import cast_weights

#: A stock class that is loaded so keeps some weights in float32, and cannot be run: theirs, in 5.23.
BROKEN = {"xlnet", "deberta"}


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in BROKEN])
def test_what_is_cast_computes_what_is_loaded_so(architecture: str, tmp_path: Path) -> None:
    model = cast_weights(build(architecture, head="base"), torch.bfloat16)
    model.save_pretrained(tmp_path)
    stock = getattr(transformers, type(model).__name__).from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    with torch.inference_mode():
        inputs = inputs_of(architecture)
        assert torch.equal(model(**inputs)[0], stock(**inputs)[0])
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
