"""Of texts: the tokenizer, how it pads, and what stock `pipeline` answers."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from .loaded import Said, class_name, near, tokenizer_of

PIPELINE_TEXT = "Ada Lovelace, of London, wrote the first one"


def check_tokenizer(asked: dict[str, Any], _: Any) -> Said:
    """The tokenizer loads, makes the tokens that it made before, and pads or cuts only where it is asked to."""
    tokenizer = tokenizer_of(asked["folder"])
    backend = getattr(tokenizer, "backend_tokenizer", None)
    baked = backend is not None and bool(backend.padding or backend.truncation)
    found = len(tokenizer("one two three")["input_ids"])
    wrong = [row["text"] for row in asked["tokens"] if dict(tokenizer(row["text"])) != row["made"]]
    if wrong:
        return False, f"{type(tokenizer).__name__} makes other tokens of {wrong[0]!r}"
    return found > 0 and not baked, f"{type(tokenizer).__name__}{' pads or cuts by itself' if baked else ''}"


def check_padding(asked: dict[str, Any], loaded: Any) -> Said:
    """A decoder's classifier reads the last token that is not padding: model and tokenizer agree on which that is."""
    if asked["kind"] != "decoder" or not class_name(asked["folder"]).endswith("ForSequenceClassification"):
        return True, "what it says does not depend on which token pads"
    model, _ = loaded()
    tokenizer = tokenizer_of(asked["folder"])
    pads = model.config.get_text_config().pad_token_id, tokenizer.pad_token_id
    if pads[0] is None or pads[0] != pads[1]:
        return False, f"config.json pads with token {pads[0]}, and the tokenizer with {pads[1]}"
    texts = ["one", "one two three four"]
    together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    return near(together, alone), f"two texts in one batch, and one by one: both pad with token {pads[0]}"


def check_pipeline(asked: dict[str, Any], loaded: Any) -> Said:
    """config.json names the task's labels, in their order, and stock `pipeline` answers with what the model says."""
    wanted, (model, _) = asked["pipeline"], loaded()
    if not wanted:
        return True, "no pipeline is for this task"
    said = {"labels": [model.config.id2label[at] for at in range(model.config.num_labels)]}
    said["problem"] = model.config.problem_type
    wrong = [f"config.json says {name} {said[name]}, not {wanted[name]}" for name in said if said[name] != wanted[name]]
    if wrong:
        return False, "; ".join(wrong)[:1000]
    tokenizer = tokenizer_of(asked["folder"])
    options: Any = {"top_k": None} if wanted["task"] == "text-classification" else {"ignore_labels": []}
    found = transformers.pipeline(wanted["task"], model=model, tokenizer=tokenizer, **options)(PIPELINE_TEXT)
    found = found[0] if found and isinstance(found[0], list) else found
    encoded = tokenizer(PIPELINE_TEXT, return_tensors="pt", return_special_tokens_mask=True)
    inside = encoded.pop("special_tokens_mask")[0] == 0
    right = _answers(found, model(**encoded).logits[0], inside, said)
    return right, f"{wanted['task']}: {len(found)} answers to a text, of {len(said['labels'])} labels"


def _answers(found: list[dict[str, Any]], logits: Any, inside: Any, said: dict[str, Any]) -> bool:
    """Whether they are a label for each token ``inside`` the text; or all labels, as likely as the model says."""
    names = said["labels"]
    if logits.ndim > 1:
        return [row["entity"] for row in found] == [names[at] for at in logits[inside].argmax(dim=-1).tolist()]
    likely = logits.sigmoid() if said["problem"] == "multi_label_classification" else logits.softmax(dim=-1)
    scores = {row["label"]: row["score"] for row in found}
    return scores.keys() == set(names) and near(torch.tensor([scores[name] for name in names]), likely)
