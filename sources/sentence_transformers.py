"""What a sentence-transformers folder has beside the model: its modules, prompts and longest input, read and checked.

Nothing of it is loaded here; but stock `sentence-transformers` will, in the runner and at the user's. So what it would
import, call or open by a name in these files must be on a list, and everything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api_schemas.architectures import Architecture
from api_schemas.errors import LayercutError
from sources.module_widths import Step, first_mismatch
from sources.sentence_modules import (
    BY_TYPE,
    CONFIG,
    KINDS,
    MODULES,
    PICKLE,
    REASONS,
    SETTINGS,
    TOP_FILES,
    TRANSFORMER_SETTINGS,
    WEIGHTS,
    Kind,
)

MAX_MODULES = 32
ACTIVATION = re.compile(r"torch\.nn\.(modules\.(activation|linear)\.)?[A-Z][A-Za-z0-9]*")
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
AS_PLAIN = "; without its modules.json, or for a job that trains, it is a plain transformers model"


@dataclass(frozen=True)
class Modules:
    """``names`` are the classes, in order; ``files`` what must be beside the model for them, by path in the folder.
    ``max_seq_length`` is the longest input in tokens, where the folder says one; ``steps`` are the modules after the
    Transformer. ``prompt`` stands before every text unless another is asked for, and both are ``lowered``.
    """

    names: list[str]
    files: list[str]
    max_seq_length: int | None
    steps: tuple[Step, ...] = ()
    prompt: str = ""
    lowered: bool = False

    def read(self, text: str) -> str:
        """What of ``text`` the tokenizer gets."""
        found = self.prompt + text
        return found.lower() if self.lowered else found


@dataclass(frozen=True)
class ModelFiles:
    """The files of the model ``id``, wherever they are: whether one is there, and what the JSON in it says."""

    id: str
    has: Callable[[str], bool]
    read: Callable[[str], Any]


def read_modules(model: ModelFiles) -> Modules | None:
    """The modules of a sentence-transformers folder; None for any other.

    Raises ``model_not_allowed`` for what would run code, ``model_invalid`` for what is broken or cannot lose layers.
    """
    if not model.has(MODULES):
        return None
    listed = model.read(MODULES)
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_MODULES:
        raise _invalid(model, MODULES, f"is not a list of 1 to {MAX_MODULES} modules")
    found = [_module(model, number, entry) for number, entry in enumerate(listed)]
    names = [kind.name for kind, _ in found]
    if names[0] != "Transformer" or "Transformer" in names[1:] or "Pooling" not in names:
        right = "it must list one Transformer, first, and a Pooling"
        raise _invalid(model, MODULES, f"lists {', '.join(names)}: {right}{AS_PLAIN}")
    prompt, transformer = _default_prompt(model), _transformer(model)
    files, steps = [name for name in TOP_FILES if model.has(name)], list[Step]()
    for kind, path in found[1:]:
        files += _files_of(model, kind, path)
        steps.append(_step(model, kind, f"{path}/{CONFIG}"))
    return Modules(
        names, list(dict.fromkeys(files)), transformer.get("max_seq_length"), tuple(steps), prompt,
        lowered=bool(transformer.get("do_lower_case")),
    )  # fmt: skip


def check_base(architecture: Architecture, modules: Modules, width: int, id: str) -> None:
    """Raise ``model_invalid`` for a model of which sentence-transformers uses another part than is pruned, and for
    modules that take vectors of another ``width`` than it makes.
    """
    if architecture.kind == "encoder-decoder":
        raise LayercutError(
            "model_invalid",
            f"{id!r} is a sentence-transformers folder of an encoder-decoder, whose decoder is not used{AS_PLAIN}",
            param="/model",
        )
    wrong = first_mismatch(modules.steps, width)
    if wrong is not None:
        before = "the model" if wrong.file == modules.steps[0].file else "what comes before it"
        text = f"{wrong.file} of {id!r} takes vectors of {wrong.takes}, and {before} makes {wrong.made}{AS_PLAIN}"
        raise LayercutError("model_invalid", text, param="/model")


def _module(model: ModelFiles, number: int, entry: Any) -> tuple[Kind, str]:
    """What the entry is, and the folder it is in."""
    row = entry if isinstance(entry, dict) else {}
    type_name, path = row.get("type"), row.get("path")
    if not isinstance(type_name, str) or not isinstance(path, str) or not isinstance(row.get("name"), str):
        raise _invalid(model, MODULES, f"has no name, path and type for module {number}")
    kind = BY_TYPE.get(type_name)
    if kind is None:
        raise _refused_type(model, type_name)
    if kind.name == "Transformer":
        if path:
            text = f"has the Transformer in {path[:100]!r}: move its files beside modules.json, and write the path ''"
            raise _invalid(model, MODULES, text)
    elif not kind.is_folder(path):
        right = f"{number}_{kind.name}"
        text = f"{MODULES} of {model.id!r} has the path {path[:100]!r}: it must be a folder beside it, like {right!r}"
        raise LayercutError("model_not_allowed", text, param="/model")
    return kind, path


def _refused_type(model: ModelFiles, type_name: str) -> LayercutError:
    supported = f"supported are {', '.join(KINDS)}{AS_PLAIN}"
    if not type_name.startswith("sentence_transformers."):
        text = f"{model.id!r} has a module {type_name[:100]!r}, which is code of its own and never run: {supported}"
        return LayercutError("model_not_allowed", text, param="/model")
    name = type_name.rpartition(".")[2]
    reason = f": {REASONS[name]}" if name in REASONS else ""
    what = f"has a module {type_name[:100]!r}, which cannot be carried over{reason}; {supported}"
    return _invalid(model, MODULES, what)


def _files_of(model: ModelFiles, kind: Kind, path: str) -> list[str]:
    config, weights = f"{path}/{CONFIG}", f"{path}/{WEIGHTS}"
    if kind.config and not model.has(config):
        raise _invalid(model, MODULES, f"lists {path}, and {config} is not there")
    if kind.weights and not model.has(weights):
        pickled = model.has(f"{path}/{PICKLE}")
        why = f"only {PICKLE}, a pickle, which can run code and is never loaded: save it as {WEIGHTS}"
        raise _invalid(model, MODULES, f"lists {path}, which has {why if pickled else f'no {WEIGHTS}'}")
    return [name for name in (config, weights if kind.weights else config) if model.has(name)]


def _step(model: ModelFiles, kind: Kind, name: str) -> Step:
    """The module whose config, where there is one, is the file ``name``; raises for a config that is not to be used."""
    if not model.has(name):
        return Step(kind.name, name, {})
    config = _read_object(model, name)
    activation = config.get("activation_function")
    if kind.name == "Dense" and activation is not None and not ACTIVATION.fullmatch(str(activation)):
        raise LayercutError(
            "model_not_allowed",
            f"{name} of {model.id!r} names the activation {str(activation)[:100]!r}: it must be a class of torch.nn",
            param="/model",
        )
    mode = config.get("pooling_mode", "mean")
    modes = mode if isinstance(mode, list) else [mode]
    if kind.name == "Pooling" and (not modes or any(one not in POOLING_MODES for one in modes)):
        raise _invalid(model, name, f"has the pooling_mode {str(mode)[:100]!r}; there are {', '.join(POOLING_MODES)}")
    return Step(kind.name, name, config)


def _default_prompt(model: ModelFiles) -> str:
    """Empty where there is none. Raises where no plain SentenceTransformer is meant."""
    settings = _read_object(model, SETTINGS) if model.has(SETTINGS) else {}
    asked = settings.get("model_type", "SentenceTransformer")
    if asked != "SentenceTransformer":
        what = f"says model_type {str(asked)[:100]!r}; supported: SentenceTransformer{AS_PLAIN}"
        raise _invalid(model, SETTINGS, what)
    prompts = settings.get("prompts", {})
    if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise _invalid(model, SETTINGS, "has prompts that are not a mapping of names to texts")
    name = settings.get("default_prompt_name")
    if name is None:
        return ""
    # A list could not even be looked up.
    if not isinstance(name, str) or name not in prompts:
        raise _invalid(model, SETTINGS, f"has the default_prompt_name {str(name)[:100]!r}, and no such prompt")
    return prompts[name] or ""


def _transformer(model: ModelFiles) -> dict[str, Any]:
    """The Transformer's settings, when all of them are harmless: they become arguments of `transformers`."""
    # Every file that is there: sentence-transformers goes on to the next where one is empty.
    read = [_transformer_settings(model, name) for name in TRANSFORMER_SETTINGS if model.has(name)]
    return next((settings for settings in read if settings), {})


def _transformer_settings(model: ModelFiles, name: str) -> dict[str, Any]:
    settings = _read_object(model, name)
    for field, value in settings.items():
        is_fine = TRANSFORMER_FIELDS.get(field)
        if is_fine is None or not is_fine(value):
            text = f"{name} of {model.id!r} has {field[:100]!r}: {str(value)[:100]!r}, which is not safe to pass on"
            raise LayercutError("model_not_allowed", f"{text} to a loader: leave it out{AS_PLAIN}", param="/model")
    return settings


def _is_length(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)


def _is_plain_text(value: Any) -> bool:
    """The one way from texts to vectors of tokens; ``method`` is called by its name."""
    fine = {"method": "forward", "method_output_name": "last_hidden_state"}
    rows = list(value.values()) if isinstance(value, dict) else [None]
    return all(isinstance(row, dict) and {**row, **fine} == row and row.keys() <= {*fine, "format"} for row in rows)


def _is_empty(value: Any) -> bool:
    return value is None or value == {}


#: What the Transformer's settings may say.
TRANSFORMER_FIELDS: dict[str, Callable[[Any], bool]] = {
    "max_seq_length": _is_length,
    "do_lower_case": lambda value: isinstance(value, bool),
    "transformer_task": lambda value: value == "feature-extraction",
    "modality_config": _is_plain_text,
    "module_output_name": lambda value: value == "token_embeddings",
    "unpad_inputs": lambda value: value is None or isinstance(value, bool),
    "tokenizer_name_or_path": lambda value: value is None,
    **dict.fromkeys(
        (
            "model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs",
            "processing_kwargs", "query_length", "document_length", "query_expansion",
        ),
        _is_empty,
    ),
}  # fmt: skip


def _read_object(model: ModelFiles, name: str) -> dict[str, Any]:
    found = model.read(name)
    if not isinstance(found, dict):
        raise _invalid(model, name, "is not a JSON object")
    return found


def _invalid(model: ModelFiles, name: str, what: str) -> LayercutError:
    return LayercutError("model_invalid", f"{name} of {model.id!r} {what}", param="/model")
