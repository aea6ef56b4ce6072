"""What a sentence-transformers folder does after its Transformer: from tokens' states to a text's vector.

Only for folders whose modules.json was checked (``sources.sentence_transformers``): a class is imported by the name
that stands there.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from sources.sentence_modules import MODULES
from sources.sentence_transformers import Modules
from sources.strict_json import parse
from workers.runtime.loading import refused


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, modules: Modules, max_length: int) -> int:
    """Tokens of the prompt that every text begins with, counted as the stock library does: with the special one before
    it, and without that after it. A pooling whose ``include_prompt`` is false leaves so many out.
    """
    if not modules.prompt:
        return 0
    ids = tokenizer(modules.read(""), truncation=True, max_length=max_length)["input_ids"]
    return len(ids) - (ids[-1] in tokenizer.all_special_ids) if ids else 0


class SentenceModules(nn.Module):
    """The modules after the Transformer, in their order, by the stock library. Their weights stand still.

    ``prompt``: see ``prompt_tokens``.
    """

    def __init__(self, folder: Path, device: torch.device, prompt: int = 0) -> None:
        super().__init__()
        with warnings.catch_warnings(), refused("sentence-transformers cannot load the modules"):
            warnings.simplefilter("ignore")  # about names that older releases wrote into modules.json
            from sentence_transformers.util import import_from_string  # noqa: PLC0415 - it takes seconds

            listed = parse((folder / MODULES).read_bytes(), MODULES)[1:]
            classes: list[Any] = [import_from_string(entry["type"]) for entry in listed]
            loaded = [
                each.load(str(folder), subfolder=entry["path"], local_files_only=True)
                for each, entry in zip(classes, listed, strict=True)
            ]
        self._prompt = prompt
        self.modules_after = nn.ModuleList(loaded).to(device).eval().requires_grad_(False)

    @property
    def reads_every_token(self) -> bool:
        """Whether a text's vector is a matter of its tokens alone, and not also of how many a prompt has."""
        return all(getattr(module, "include_prompt", True) for module in self.modules_after)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """``(B, L, H)`` float32 states of tokens, and their ``(B, L)`` mask, to ``(B, D)`` vectors."""
        features: dict[str, Any] = {"token_embeddings": states, "attention_mask": mask, "prompt_length": self._prompt}
        for module in self.modules_after:
            features = module(features)
        vectors: Tensor = features["sentence_embedding"]
        return vectors
