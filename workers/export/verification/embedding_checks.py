"""Of a sentence-transformers folder: its vectors, by stock sentence-transformers."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from .loaded import LOCAL, TOLERANCES, Said, distance


def check_sentence_transformers(asked: dict[str, Any], _: Any) -> Said:
    """Stock sentence-transformers makes of a text what the source's modules make of it over the pruned model."""
    expected = asked["embeddings"]
    if not (Path(asked["folder"]) / "modules.json").exists():
        return expected is None, "not a sentence-transformers folder"
    if asked["mapped"]:
        return True, "its files are those of the source; larger than memory, so its vectors were not compared"
    model = load_embedding_model(asked["folder"], getattr(torch, asked["dtype"]))
    found = described(model)
    was = expected["described"]
    wrong = [f"{name} is {found[name]}, not {was[name]}" for name in was if found[name] != was[name]]
    if wrong:
        return False, "; ".join(wrong)[:1000]
    vectors = load_file(expected["vectors"])["expected"]
    again = embeddings_of(model, expected["texts"], expected["prompts"])
    if again.shape != vectors.shape:
        return False, f"vectors of shape {list(again.shape)}, not {list(vectors.shape)}"
    # Of unit length they have small numbers: what is allowed is a share of the largest.
    far, allowed = distance(again, vectors), TOLERANCES[vectors.dtype] * float(vectors.abs().max())
    modules = ", ".join(found["modules"])
    return far <= allowed, f"{modules}: largest difference {far:.2g} over {len(vectors)} vectors, {allowed:.2g} allowed"


def load_embedding_model(folder: str, dtype: torch.dtype) -> Any:
    """With stock sentence-transformers: seconds to import, so it is imported for those that need it alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that older releases wrote into modules.json
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        options = {"dtype": dtype, "use_safetensors": True}
        return SentenceTransformer(folder, device="cpu", model_kwargs=options, **LOCAL)


def described(model: Any) -> dict[str, Any]:
    """What a SentenceTransformer does beside its numbers."""
    settings = ("max_seq_length", "prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
    modules = [type(module).__name__ for module in model]  # where they lie differs from release to release
    return {"modules": modules, **{name: getattr(model, name) for name in settings}}


def embeddings_of(model: Any, texts: list[str], prompts: list[str]) -> torch.Tensor:
    """Of the texts, with the default prompt where there is one; and of the first text with each of ``prompts``."""
    options = {"convert_to_tensor": True, "show_progress_bar": False}
    return torch.cat(
        [model.encode(texts, **options), *(model.encode(texts[:1], prompt_name=name, **options) for name in prompts)]
    )
