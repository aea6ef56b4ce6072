"""What is tried before anything is trained: a model that cannot run, or cannot read the data, is refused here."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.errors import LayercutError
from sources.tokenizer_files import check_tokens
from workers.data.features import Features, LabelShape
from workers.data.made_up import made_up_inputs
from workers.data.unknown import largest_token, rows_of_unknown_words
from workers.runtime.loading import refused
from workers.stages.resolved_job import ResolvedJob

#: Where there is no data to say how long a text is.
TOKENS = 8
#: Share of a split's rows without a known word, above which the report says so.
MANY = 0.5


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, facts: ModelFacts) -> None:
    """Raise ``model_invalid`` for a tokenizer with more tokens than the model has embeddings, as it was loaded."""
    if facts.vocabulary is None:
        return
    unused = ARCHITECTURES[facts.architecture].unused_tokens
    vocabulary = tokenizer.get_vocab()
    largest = max((number for token, number in vocabulary.items() if token not in unused), default=0)
    check_tokens(largest, len(vocabulary), facts.vocabulary, facts.id)


def check_words(tokenizer: PreTrainedTokenizerBase, shape: LabelShape) -> None:
    """Raise ``model_invalid`` for a tokenizer that does not tell which word a token is of, where words are tagged."""
    if shape.per_token and not tokenizer.is_fast:
        raise LayercutError(
            "model_invalid",
            f"{type(tokenizer).__name__} does not tell which word a token is of, and words are tagged: save the model"
            " with a tokenizer.json",
            param="/model",
        )


def try_out(job: ResolvedJob, model: PreTrainedModel) -> list[str]:
    """Run ``model`` once on tokens without meaning, as long as the longest text; and look whether it can read the data.

    Raises ``model_invalid`` and ``dataset_invalid``. Gives warnings.
    """
    splits = {} if job.train is None else {"train": job.train, **job.dev}
    rows = model.get_input_embeddings().get_parameter("weight").shape[0]
    unlabelled = {} if job.text is None else {"unlabelled": job.text}
    for name, features in (splits | unlabelled).items():
        _check_ids(features, name, rows, job.tokenizer)
    if not job.mapped:
        _run(job, model, max((int(features.lengths.max()) for features in splits.values()), default=TOKENS))
    warnings = (_unread(features, name, job) for name, features in splits.items())
    return [warning for warning in warnings if warning is not None]


def _check_ids(features: Features, split: str, rows: int, tokenizer: PreTrainedTokenizerBase) -> None:
    largest = largest_token(features)
    if largest >= rows:
        raise LayercutError(
            "dataset_invalid",
            f"a text of the {split} rows has the token {tokenizer.convert_ids_to_tokens(largest)!r} with id {largest},"
            f" and the model has embeddings of {rows}: take it out of the texts",
            param="/task",
        )


@torch.inference_mode()
def _run(job: ResolvedJob, model: PreTrainedModel, tokens: int) -> None:
    inputs = made_up_inputs(model.config, 1, tokens, seed=job.request.seed)
    with refused("the model does not run, as its config and its weights are"):
        model(**{name: value.to(job.device) for name, value in inputs.items()})


def _unread(features: Features, split: str, job: ResolvedJob) -> str | None:
    unread, total = rows_of_unknown_words(features, job.tokenizer), len(features)
    if unread <= MANY * total:
        return None
    said = f"the tokenizer of {job.facts.id!r} knows no word of {unread} of the {total} {split} rows"
    if unread == total:
        raise LayercutError(
            "dataset_invalid", f"{said}: they all look alike to the model. Use a model of their language", param="/task"
        )
    return f"{said}: those look alike to the model"
