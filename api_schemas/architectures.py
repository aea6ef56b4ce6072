"""ARCHITECTURES: model families, and where each keeps its layers. One row a ``model_type`` of `transformers`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from api_schemas.errors import LayercutError
from api_schemas.registry import Registry


@dataclass(frozen=True)
class Architecture:
    """One model family.

    ``layers`` is the path of the layer list inside the base model; ``count_field`` the config's number of layers;
    ``per_layer_fields`` the config lists that have one entry a layer and are cut with them; ``summary`` the place of
    the token that stands for the whole text. ``shared_layers``: one set of weights is run many times, so the count
    falls and the weights stay. ``time_first``: between layers, states are (tokens, batch, width) and not (batch,
    tokens, width). ``positions_after_padding``: positions are counted from ``pad_token_id + 1``, so the longest input
    is that much shorter than the table of positions.
    """

    name: str
    layers: str
    count_field: str = "num_hidden_layers"
    hidden_field: str = "hidden_size"
    per_layer_fields: tuple[str, ...] = ()
    kind: Literal["encoder", "decoder"] = "encoder"
    summary: Literal["first", "last"] = "first"
    shared_layers: bool = False
    time_first: bool = False
    positions_after_padding: bool = False
    note: str = ""

    @property
    def layer_key(self) -> re.Pattern[str]:
        """Matches a tensor's name up to its layer index, which is group 2, with or without the base model's prefix."""
        return re.compile(rf"^((?:.+\.)?{re.escape(self.layers)}\.)(\d+)(?=\.)")

    def check_config(self, config: dict[str, Any]) -> None:
        """Raise ``unsupported_architecture`` for a shape that cannot lose layers and stay a stock model."""
        groups = config.get("num_hidden_groups") or 1
        if self.shared_layers and groups != 1:
            raise LayercutError(
                "unsupported_architecture",
                f"{self.name} with num_hidden_groups={groups}: which group a layer uses follows from the number of"
                " layers, so dropping some would change the weights of others; only one group is supported",
                param="/model",
            )


# fmt: off
ARCHITECTURES: Registry[Architecture] = Registry("architecture", "unsupported_architecture", (
    Architecture("bert", "encoder.layer"),
    Architecture("roberta", "encoder.layer", positions_after_padding=True),
    Architecture("camembert", "encoder.layer", positions_after_padding=True),
    Architecture("xlm-roberta", "encoder.layer", positions_after_padding=True),
    Architecture("distilbert", "transformer.layer", count_field="n_layers", hidden_field="dim"),
    Architecture("albert", "encoder.albert_layer_groups", shared_layers=True,
                 note="All layers share one set of weights: dropping layers saves time and no size."),
    Architecture("electra", "encoder.layer"),
    Architecture("mpnet", "encoder.layer", positions_after_padding=True,
                 note="The relative position bias is outside the layers and stays."),
    Architecture("xlnet", "layer", count_field="n_layer", hidden_field="d_model", summary="last",
                 time_first=True),
    Architecture("deberta", "encoder.layer", note="The relative position embeddings are outside the layers and stay."),
    Architecture("deberta-v2", "encoder.layer",
                 note="Where conv_kernel_size is set, the convolution follows the first kept layer."),
))
# fmt: on


class ModelFacts(BaseModel):
    """What can be known of a model from its config and the headers of its safetensors files, without loading it."""

    id: str
    revision: str | None = None
    architecture: str
    classes: list[str] = Field(default=[], description="config.architectures: the stock classes it was saved from")
    layers: int
    hidden_size: int
    vocabulary: int | None = None
    num_labels: int | None = Field(default=None, description="labels of its trained classification head, if it has one")
    max_positions: int | None = Field(default=None, description="longest input in tokens, where the config says one")
    parameters: int | None = Field(default=None, description="in all; null where the weights were not looked at")
    parameters_per_layer: list[int] | None = None
    bytes: int | None = None
    dtype: str | None = None
    license: str | None = None


def architecture_of(config: dict[str, Any]) -> Architecture:
    """The row of a ``config.json``; raises ``unsupported_architecture`` with the list of what is supported."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise LayercutError("model_invalid", "config.json has no model_type", param="/model")
    row = ARCHITECTURES.get(model_type)
    if row is None:
        raise LayercutError(
            "unsupported_architecture",
            f"architecture {model_type!r} is not supported; supported: {', '.join(ARCHITECTURES)}",
            param="/model",
        )
    row.check_config(config)
    return row
