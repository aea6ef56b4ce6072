"""How large a model would be, before memory is made of it: built without storage, and compared with its files."""

from __future__ import annotations

import copy
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from api_schemas.errors import LayercutError
from sources.facts import choose_weights
from sources.headers import read_layout
from sources.strict_json import limit_of, parse

#: A head that is new, a pooler that was not saved, tables that are computed: numbers beside twice those of the files.
ALLOWED = 2**24
TIMES = 2


def check_planned_size(loader: Any, config: PreTrainedConfig, folder: Path) -> None:
    """Raise ``model_invalid`` where the class would be larger, as ``config`` says it, than the files account for.

    Whatever a config may say, it is told here within a second: no memory is made of it.
    """
    planned, stored = planned_numbers(loader, config), stored_numbers(folder)
    if planned > TIMES * stored + ALLOWED:
        raise LayercutError(
            "model_invalid",
            f"config.json describes a model of {planned} numbers, and the weights have {stored}: save model and config"
            " together with save_pretrained",
            param="/model",
        )


def planned_numbers(loader: Any, config: PreTrainedConfig) -> int:
    """Parameters and buffers of the model that ``loader``, a stock class or an auto class, makes of ``config``."""
    build = loader.from_config if hasattr(loader, "from_config") else loader._from_config
    with torch.device("meta"):
        model = build(copy.deepcopy(config))
    # Python's own numbers: a product of sizes may be more than 64 bits hold.
    return sum(tensor.numel() for tensor in chain(model.parameters(), model.buffers()))


def stored_numbers(folder: Path) -> int:
    """In the safetensors files of ``folder``, which ``read_facts`` has found to be sound."""
    index = choose_weights({path.name for path in folder.iterdir()}, folder.name)
    files = {index}
    if index.endswith(".json"):
        files = set(parse((folder / index).read_bytes()[: limit_of(index)], index)["weight_map"].values())
    return sum(tensor.size for name in files for tensor in read_layout(folder / name).tensors.values())
