"""Models and tokenizers out of a folder: stock classes, safetensors only, no network and no code from the folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from api_schemas.architectures import ARCHITECTURES, Architecture, ModelFacts
from api_schemas.errors import LayercutError
from sources.config_numbers import EVERYWHERE
from workers.runtime.failures import OF_DEVICES, code_of
from workers.runtime.planned_size import check_planned_size

SAFE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
SHOWN = 6
#: What the tokenizers' library raises where it is at its end: no ``Exception``.
PANIC = "PanicException"
#: Words, signs, and letters that few vocabularies have.
PROBE = "A text, and 2 others: \u4e2d \U0001f600"


def quiet_libraries() -> None:
    """Keep progress bars and load reports off stderr: what matters in them is told as events, in words."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Whatever a library says of a model's files is the model's fault, and will be again: ``model_invalid``.

    Memory, storage and the device's own faults are not, and keep their codes.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != PANIC:
            raise
        if code_of(error) != "internal" or type(error).__name__ in OF_DEVICES:
            raise
        raise LayercutError("model_invalid", f"{what}: {_brief(error)}", param="/model") from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, padding and cutting only where a call asks for it; raises ``model_invalid``."""
    with refused("the tokenizer cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
    _check_vocabulary(tokenizer, folder)
    with refused("the tokenizer cannot read a text"):
        tokenizer(PROBE)
    return forget_padding(tokenizer)


def _check_vocabulary(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    # Where there is no file to read, `transformers` 5 makes up a tokenizer to which every word is unknown.
    whole = dict(tokenizer.vocab_files_names)
    single = {whole.pop("tokenizer_file", "tokenizer.json"), "tokenizer.model"}
    if any((folder / name).is_file() for name in single) or all((folder / name).is_file() for name in whole.values()):
        return
    raise LayercutError(
        "model_invalid",
        f"the folder has no tokenizer: neither tokenizer.json nor {' and '.join(whole.values())} is there",
        param="/model",
    )


def forget_padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Turn off the padding and cutting that ``tokenizer.json`` may carry, such as the fixed 128 of all-MiniLM.

    Also what the last call left there: a fast tokenizer keeps it, and would save it.
    """
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()
    tokenizer.init_kwargs = {key: value for key, value in tokenizer.init_kwargs.items() if key not in _OURS_ONLY}
    return tokenizer


# What loading leaves in tokenizer_config.json: where and how we loaded it, and the cutting that tokenizer.json carried.
_OURS_ONLY = frozenset(
    {"is_local", "local_files_only", "vocab_file", "max_length", "stride", "truncation_strategy", "pad_to_multiple_of"}
)


def read_rows_as_decoder(tokenizer: PreTrainedTokenizerBase) -> None:
    """Have a decoder's tokenizer pad as its classifier reads: on the right, with a token that the model is told of.

    A classifier on a decoder reads the last token that is not padding, whichever side is padded; but GPT-2 counts its
    positions from the first token, padding or not. Where the tokenizer has no token for padding, the end-of-text token
    serves. Raises ``model_invalid`` where there is none either.
    """
    tokenizer.padding_side = "right"
    tokenizer.init_kwargs["padding_side"] = "right"  # what is saved: the attribute alone is forgotten
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            message = "the tokenizer has neither a padding nor an end-of-text token: batches cannot be filled up"
            raise LayercutError("model_invalid", message, param="/model")
        tokenizer.pad_token = tokenizer.eos_token


def load_source(
    folder: Path, facts: ModelFacts, warnings: list[str] | None = None, *, copied: bool = False
) -> PreTrainedModel:
    """The model as it was saved: the class its config names, the dtype of its weights.

    Weights that the checkpoint lacks are initialised anew, and tensors that the class has no place for are left out,
    but of an artifact whose files are ``copied``; both are told in ``warnings``. Raises ``model_invalid`` where that
    would touch a layer or the embeddings.
    """
    notes = [] if warnings is None else warnings
    loader = _stock_class(facts, notes, copied=copied)
    model, info = _load(loader, folder, config=_config(folder), dtype=_dtype(facts))
    if info["mismatched_keys"]:
        shapes = (f"{key} {list(found)} for {list(said)}" for key, found, said in info["mismatched_keys"])
        message = f"tensors have another shape than config.json says: {_listed(shapes)}"
        raise LayercutError("model_invalid", message, param="/model")
    architecture = ARCHITECTURES[facts.architecture]
    _check_loaded(info, architecture, architecture.sizes(model.config.to_dict()))
    notes.extend(_what_differs(info, copied=copied))
    return model


@dataclass(frozen=True)
class Head:
    """What is put on a base model: a stock class by name, an output for each of ``labels`` (one, without labels), and
    what the config says the problem is.
    """

    auto_class: str
    labels: tuple[str, ...] = ()
    problem: str | None = None


def load_for_task(
    folder: Path,
    head: Head,
    *,
    seed: int,
    order: list[int] | None = None,
    mean: float = 0.0,
    pad_token: int | None = None,
    warnings: list[str] | None = None,
) -> PreTrainedModel:
    """The model with the ``head``, in float32, in evaluation mode.

    The checkpoint's own head is used where it has as many outputs; ``order`` says at which of them each label
    stands, where that is known: they are put into the order of ``head.labels``. Else the head is new, drawn with
    ``seed``; where it is to give a number and has a bias, that begins at ``mean``, the labels' own.
    ``pad_token``: its id in the tokenizer, for a decoder, which has to know it to find the end of a text.
    """
    config: Any = _config(folder)
    config.num_labels = max(1, len(head.labels))
    if head.labels:
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {name: index for index, name in enumerate(head.labels)}
    config.problem_type = head.problem
    architecture = ARCHITECTURES[config.model_type]
    if architecture.kind == "decoder":
        config.pad_token_id = pad_token
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, info = _load(getattr(transformers, head.auto_class), folder, config=config, dtype=torch.float32)
    resized = {key for key, *_ in info["mismatched_keys"]}
    new = set(info["missing_keys"]) | resized
    _check_loaded({**info, "missing_keys": new}, architecture, architecture.sizes(config.to_dict()))
    if warnings is not None:
        warnings.extend(_what_differs({"missing_keys": new - _head(model), "unexpected_keys": ()}, copied=False))
    if not new & _head(model):
        _reorder_head(model, order or [])
    elif not head.labels:
        _begin_at(model, new & _head(model), mean)
    return model


def load_base(folder: Path, facts: ModelFacts, warnings: list[str] | None = None) -> PreTrainedModel:
    """The model without any head, in float32, in evaluation mode: what sentence-transformers reads states from."""
    model, info = _load(AutoModel, folder, config=_config(folder), dtype=torch.float32)
    architecture = ARCHITECTURES[facts.architecture]
    _check_loaded(info, architecture, architecture.sizes(model.config.to_dict()))
    if warnings is not None:
        warnings.extend(_what_differs(info, copied=False))
    return model


def _config(folder: Path) -> PreTrainedConfig:
    """The model's config, whose attention is that of this machine: the one that it was saved on may have had others."""
    with refused("config.json cannot be read"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, **SAFE)
        for name in ("_attn_implementation", "_experts_implementation"):
            if getattr(config, name, None) not in EVERYWHERE:
                setattr(config, name, None)
    return config


def _load(loader: Any, folder: Path, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    # With sizes that differ, the loader would only say that some do.
    with refused("the model cannot be loaded"):
        check_planned_size(loader, options["config"], folder)
        loaded: tuple[PreTrainedModel, dict[str, Any]] = loader.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **SAFE, **options
        )
    loaded[0].eval()
    return loaded


def _stock_class(facts: ModelFacts, notes: list[str], *, copied: bool) -> Any:
    for name in facts.classes:
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, PreTrainedModel):
            return found
    if facts.classes:
        head = "of its head, the tensors stay in the file, unused" if copied else "its head is left out"
        notes.append(f"{facts.classes[0]} is not a class of transformers: only its base model is kept; {head}")
    return AutoModel


def _dtype(facts: ModelFacts) -> torch.dtype | str:
    # config.json may say another dtype than the weights have; "auto" would believe it.
    found = getattr(torch, facts.dtype or "", None)
    return found if isinstance(found, torch.dtype) else "auto"


# Without these a model says nothing, in whatever family: layers apart, which the table knows.
_EMBEDDINGS = re.compile(r"(^|\.)(embed\w*|wte|wpe|shared|word_embedding)\.")


def _check_loaded(info: dict[str, Any], architecture: Architecture, sizes: Sequence[int]) -> None:
    vital = [key for key in info["missing_keys"] if architecture.place(key) or _EMBEDDINGS.search(key)]
    if vital:
        raise LayercutError("model_invalid", f"the checkpoint lacks, or misshapes, {_listed(vital)}", param="/model")
    places = [place for key in info["unexpected_keys"] if (place := architecture.place(key))]
    for number, (stack, size) in enumerate(zip(architecture.stacks, sizes, strict=True)):
        above = sorted({place.layer for place in places if place.stack == number and place.layer >= size})
        if above:
            raise LayercutError(
                "model_invalid",
                f"config.json says {size} layers ({stack.count_field}), but the checkpoint also has layers {above}",
                param="/model",
            )


def _what_differs(info: dict[str, Any], *, copied: bool) -> list[str]:
    """``copied``: the artifact has every tensor of the checkpoint's layers, and what the class does not use too."""
    notes = []
    if info["missing_keys"] and copied:
        notes.append(
            f"not in the checkpoint, so not in the artifact, and new in each loading: {_listed(info['missing_keys'])}"
        )
    elif info["missing_keys"]:
        notes.append(f"not in the checkpoint, so initialised at random: {_listed(info['missing_keys'])}")
    if info["unexpected_keys"]:
        kept = "copied as they are" if copied else "left out"
        notes.append(f"in the checkpoint but not in the model's class, so {kept}: {_listed(info['unexpected_keys'])}")
    return notes


def _head(model: PreTrainedModel) -> set[str]:
    prefix = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(prefix)}


def _begin_at(model: PreTrainedModel, new: set[str], mean: float) -> None:
    """From 0, a short training is over before it has found the labels' mean (docs/lab/recovery.md)."""
    for name, weight in model.named_parameters():
        if name in new and name.endswith(".bias") and weight.numel() == 1:
            torch.nn.init.constant_(weight, mean)


def _reorder_head(model: PreTrainedModel, order: list[int]) -> None:
    if order == sorted(order):
        return
    head = _head(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in head and parameter.shape[0] == len(order):
                parameter.copy_(parameter[order])


def _listed(keys: Iterable[str]) -> str:
    names = sorted(keys)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _brief(error: BaseException) -> str:
    """Its first line, and where that only announces the reason, the next."""
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:300]
