"""Floating-point operations of a model's passes, counted from its config and the headers of its weights.

As in Kaplan et al. 2020 (arXiv 2001.08361, §2.1): two for each weight of a layer and token, and four for each position
that a token attends to and unit of width; back takes twice what forward does. Embeddings and heads are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from api_schemas.architectures import ARCHITECTURES, ModelFacts

#: Of AdamW, for each weight and step. Its time goes into memory: as many as could be computed meanwhile.
OPTIMIZER = 250


@dataclass(frozen=True)
class Work:
    """What is computed: operations of trainings and of inference, passes of single layers, and what takes its seconds
    whatever the device. ``tokens``: that a model is trained on.
    """

    training: float = 0.0
    inference: float = 0.0
    passes: float = 0.0
    seconds: float = 0.0
    tokens: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(mine + theirs for mine, theirs in zip(self._values, other._values, strict=True)))

    def __mul__(self, times: float) -> Work:
        return Work(*(times * value for value in self._values))

    @property
    def _values(self) -> tuple[float, ...]:
        return self.training, self.inference, self.passes, self.seconds, self.tokens


@dataclass(frozen=True)
class Sizes:
    """Of a model: the width of its states, and the weights of one of its layers and of all but those."""

    width: int
    layer: float
    rest: float
    layers: int

    @classmethod
    def of(cls, facts: ModelFacts) -> Sizes:
        width, own = facts.hidden_size, facts.parameters_per_layer
        # Where the weights were not looked at, or are shared: four matrices of attention, two of 4 widths.
        layer = sum(own) / len(own) if own and sum(own) > 0 else 12.0 * width * width
        stored = layer * (1 if ARCHITECTURES[facts.architecture].shared_layers else facts.layers)
        rest = (facts.vocabulary or 30_000) * float(width)
        return cls(
            width, layer, rest if facts.parameters is None else max(0.0, facts.parameters - stored), facts.layers
        )

    @property
    def inner(self) -> int:
        """The width within a layer, as its weights tell."""
        return max(self.width, round((self.layer - 4 * self.width**2) / (2 * self.width)))

    def parameters(self, layers: int) -> int:
        return round(self.rest + layers * self.layer)

    def forward(self, layers: int, tokens: float, length: float) -> float:
        """Operations of ``tokens`` tokens, each in a text of ``length``, through ``layers`` layers."""
        return tokens * layers * (2 * self.layer + 4 * length * self.width)

    def inference(self, layers: int, tokens: float, length: float, *, batch_tokens: float = 8192) -> Work:
        passes = layers * max(1.0, tokens / batch_tokens)
        return Work(inference=self.forward(layers, tokens, length), passes=passes)

    def training(self, layers: int, steps: int, tokens: float, length: float, *, teacher: int = 0) -> Work:
        """``teacher``: layers of a model that answers each batch, in the same precision."""
        flops = 3 * self.forward(layers, tokens, length) + self.forward(teacher, tokens, length)
        return Work(
            training=flops + OPTIMIZER * steps * layers * self.layer,
            passes=steps * (3 * layers + teacher),
            tokens=tokens,
        )
