"""Of each further format: stock onnxruntime makes of the same inputs what the model makes, padded and alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .embedding_checks import load_embedding_model
from .loaded import Said, of_text, probe

# Rows that are asked for one by one, without padding.
ALONE = 4
VECTOR = "sentence_embedding"
# What kernels that add up in another order come to, where all outputs are next to nothing.
NOISE = 1e-6


def check_format(row: dict[str, Any], asked: dict[str, Any], loaded: Any) -> Said:
    """Every output is as near to the model's as ``row`` allows, in a padded batch and for rows of several lengths."""
    session, model = _session(asked, row), _whole(asked, loaded)
    names = [each.name for each in session.get_outputs()]
    worst, largest = 0.0, 0.0
    batches = _batches(asked)
    for inputs in batches:
        expected = model(**inputs)[0]
        found = torch.from_numpy(session.run(names[:1], _given(session, inputs))[0])
        if found.shape != expected.shape:
            return False, f"{row['file']} gives shape {list(found.shape)}, not {list(expected.shape)}"
        far = (of_text(found, inputs) - of_text(expected, inputs)).abs().max()
        # A NaN is no distance, and as a maximum it would be lost.
        worst = max(worst, float(far)) if far.isfinite() else float("inf")
        largest = max(largest, float(of_text(expected, inputs).abs().max()))
    allowed = _allowed(row, largest)
    detail = f"largest difference {worst:.2g} over {len(batches)} batches, {allowed:.2g} allowed"
    if worst > allowed or VECTOR not in names:
        return worst <= allowed, detail
    right, said = _vectors(asked, row, session)
    return right, f"{detail}; {said}"


def _vectors(asked: dict[str, Any], row: dict[str, Any], session: Any) -> Said:
    """Where the graph makes the texts' vectors too, they are those of sentence-transformers."""
    stock = load_embedding_model(asked["folder"], torch.float32)
    texts = asked["embeddings"]["texts"]
    expected = stock.encode(texts, convert_to_tensor=True, show_progress_bar=False)
    tokens = stock.preprocess(texts) if hasattr(stock, "preprocess") else stock.tokenize(texts)
    found = torch.from_numpy(session.run([VECTOR], _given(session, tokens))[0])
    if found.shape != expected.shape:
        return False, f"its vectors have shape {list(found.shape)}, not {list(expected.shape)}"
    # The cosine tells vectors of another model, and the distance those of another length.
    far, allowed = float((found - expected).abs().max()), _allowed(row, float(expected.abs().max()))
    cosines = torch.nn.functional.cosine_similarity(found.double(), expected.double())
    least = float(torch.where((found == expected).all(dim=1), 1.0, cosines).min())
    said = f"of its vectors {far:.2g}, {allowed:.2g} allowed; least cosine {least:.4f}, {row['cosine']:g} asked for"
    # Compared so that a NaN fails.
    return far <= allowed and least >= row["cosine"], said


def _allowed(row: dict[str, Any], largest: float) -> float:
    """A share of the largest alone: vectors of unit length, and logits of a new head, are all much less than 1."""
    share: float = row["tolerance"] * largest
    return max(NOISE, share)


def _session(asked: dict[str, Any], row: dict[str, Any]) -> Any:
    # Of those alone that have such a format: not every worker has the library.
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        Path(asked["folder"]) / row["file"], options, providers=["CPUExecutionProvider"]
    )


def _whole(asked: dict[str, Any], loaded: Any) -> Any:
    """The model in float32; of a sentence-transformers folder, what its modules read."""
    model, _ = loaded()
    whole = model.float()
    return whole.base_model if asked["embeddings"] else whole


def _batches(asked: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
    """The probe as it is, padded; the first rows alone, without padding; and one of them cut in half."""
    together, _ = probe(asked)
    rows = [_alone(together, row) for row in range(min(ALONE, len(together["input_ids"])))]
    half = max(1, rows[0]["input_ids"].shape[1] // 2)
    return [together, *rows, {name: value[:, :half] for name, value in rows[0].items()}]


def _alone(together: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    inside = together["attention_mask"][row].bool()
    return {name: value[row : row + 1, inside] for name, value in together.items()}


def _given(session: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """What is not given is 0, as in stock classes."""
    zeros = torch.zeros_like(inputs["input_ids"])
    return {each.name: inputs.get(each.name, zeros).numpy() for each in session.get_inputs()}
