"""KINDS: the modules of sentence-transformers that lose nothing when the model under them loses layers.

Their files by name, too: beside the model and its tokenizer, nothing else of such a folder is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
# As the Transformer's settings are called now, and as they were called for one family or the other.
TRANSFORMER_SETTINGS = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
#: The small files beside config.json; which others there are stands in the first.
TOP_FILES = (MODULES, SETTINGS, *TRANSFORMER_SETTINGS)

CONFIG, WEIGHTS, PICKLE = "config.json", "model.safetensors", "pytorch_model.bin"


@dataclass(frozen=True)
class Kind:
    """A class of module. ``packages``: where the releases of sentence-transformers have it, or had."""

    name: str
    packages: tuple[str, ...]
    config: bool = True
    weights: bool = False

    def is_folder(self, path: str) -> bool:
        """Whether ``path`` is what sentence-transformers calls its folder: no file of a model can be called so."""
        return re.fullmatch(rf"[0-9]{{1,2}}_{self.name}", path) is not None

    @property
    def patterns(self) -> list[str]:
        """Its files, in whichever folder, as the hub's client is asked for them."""
        files = (CONFIG, WEIGHTS) if self.weights else (CONFIG,)
        return [f"{number}_{self.name}/{file}" for number in ("[0-9]", "[0-9][0-9]") for file in files]

    @property
    def types(self) -> set[str]:
        """What modules.json may call it: older releases wrote the file that the class is in, newer ones the class."""
        file = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.name).lower()
        names = (self.name, f"{self.name}.{self.name}", f"{file}.{self.name}")
        return {f"sentence_transformers.{package}.{name}" for package in ("models", *self.packages) for name in names}


BASE, OWN = "base.modules", "sentence_transformer.modules"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("Transformer", (BASE, OWN), config=False),
        Kind("Pooling", (OWN,)),
        Kind("Dense", (BASE, OWN), weights=True),
        Kind("Normalize", (BASE, OWN), config=False),
        Kind("LayerNorm", (OWN,), weights=True),
        Kind("Dropout", (OWN,), config=False),
    )
}
#: All that is read of such a folder beside the model and its tokenizer: names, and patterns of names.
MODULE_FILES = [*TOP_FILES, *(pattern for name in KINDS if name != "Transformer" for pattern in KINDS[name].patterns)]
BY_TYPE = {type: kind for kind in KINDS.values() for type in kind.types}

# Why not, where more can be said than that it is not on the list.
REASONS = {
    "WeightedLayerPooling": "it has one weight a layer, and the layers that it weighs are dropped",
    "Router": "it sends queries and documents to models of their own, and one model is pruned",
    "Asym": "it sends queries and documents to models of their own, and one model is pruned",
}
