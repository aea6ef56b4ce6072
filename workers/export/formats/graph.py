"""A model as an ONNX graph: inputs of any number of rows and tokens, and what a stock class makes of them."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from api_schemas.errors import LayercutError
from api_schemas.formats import PARAM
from workers.data.made_up import made_up_inputs
from workers.runtime.sentence_modules import SentenceModules

if TYPE_CHECKING:
    import onnx_ir

#: What onnxruntime has had since 1.14, and transformers.js and optimum read.
OPSET = 18
#: Tensors of more bytes lie in a file beside the graph: a message of protobuf has less than 2 GiB.
INLINE_BYTES = 1_800_000_000
#: Of the example that is followed: nothing may be decided by these numbers, so they are no others of the model.
ROWS, TOKENS = 3, 11
AXES = {0: "batch_size", 1: "sequence_length"}

LOGITS, STATES, VECTOR = "logits", "last_hidden_state", "sentence_embedding"


@dataclass(frozen=True)
class Signature:
    """Names of what goes in, each int64 ``(batch_size, sequence_length)``, and of what comes out."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def signature_of(model: PreTrainedModel, given: Sequence[str], pooling: SentenceModules | None) -> Signature:
    """``given`` are the inputs that the model's tokenizer makes. A model without a head gives the states of its tokens;
    with ``pooling``, the text's vector too, where that is a matter of the tokens alone.
    """
    taken = inspect.signature(model.forward).parameters
    pooled = (VECTOR,) if pooling is not None and pooling.reads_every_token else ()
    has_head = model is not model.base_model
    return Signature(tuple(name for name in given if name in taken), (LOGITS,) if has_head else (STATES, *pooled))


class _Followed(nn.Module):
    """Inputs by their place, outputs by their order: what torch follows."""

    def __init__(self, model: PreTrainedModel, signature: Signature, pooling: SentenceModules | None) -> None:
        super().__init__()
        self._model, self._signature, self._pooling = model, signature, pooling
        # A decoder's past would be an output for each of its layers.
        self._options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(self._signature.inputs, values, strict=True))
        output: Any = self._model(**inputs, **self._options, return_dict=True)
        found = [output[name] for name in self._signature.outputs if name != VECTOR]
        if VECTOR in self._signature.outputs:
            assert self._pooling is not None
            found.append(self._pooling(output[STATES], inputs["attention_mask"]))
        return tuple(found)


def make_graph(model: PreTrainedModel, signature: Signature, pooling: SentenceModules | None) -> onnx_ir.Model:
    """The graph of ``model``, which is on the CPU, in float32 and in evaluation mode. Raises ``export_failed``."""
    import onnx_ir.passes.common as passes  # noqa: PLC0415

    example = _example(model, signature)
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                _Followed(model, signature, pooling).eval(),
                example,
                input_names=list(signature.inputs),
                output_names=list(signature.outputs),
                dynamic_shapes=(tuple(AXES for _ in signature.inputs),),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            # Whatever it was: torch could not follow the model.
            text = f"onnx: torch cannot follow this model: {_first_line(error)}"
            raise LayercutError("export_failed", text, param=PARAM) from error
    assert program is not None
    made: onnx_ir.Model = program.model
    # Lines of our files, and where they lie.
    passes.ClearMetadataAndDocStringPass()(made)
    return made


def save_graph(graph: onnx_ir.Model, path: Path) -> None:
    """Write it, and beside it, where they are large, its tensors: ``<name>_data``."""
    import onnx_ir  # noqa: PLC0415

    size = sum(value.const_value.nbytes for value in graph.graph.initializers.values() if value.const_value is not None)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx_ir.save(graph, path, external_data=f"{path.name}_data" if size > INLINE_BYTES else None)
    for file in path.parent.glob(f"{path.name}*"):
        file.chmod(0o644)


def _example(model: PreTrainedModel, signature: Signature) -> tuple[Tensor, ...]:
    """Rows of several lengths, so that padding is followed too."""
    inputs = made_up_inputs(model.config, ROWS, TOKENS)
    inputs["attention_mask"][0, TOKENS - 3 :] = 0
    padding = model.config.get_text_config().pad_token_id
    if padding is not None:
        inputs["input_ids"][0, TOKENS - 3 :] = padding
    return tuple(inputs.get(name, torch.zeros_like(inputs["input_ids"])) for name in signature.inputs)


@contextmanager
def _quiet() -> Iterator[None]:
    """What torch says of its own libraries is no matter of the user's."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    """Of the cause: what torch puts around it is advice for its developers."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return f"{type(cause).__name__}: {lines[0]}"[:300]
