"""FORMATS: what a model can be delivered as, one row a format. Each but the first lies in ``onnx/``, beside the config.

A row says what can be known without a model. What writes a file of it stands in ``workers/export/formats/writers.py``,
what proves it in ``workers/export/verification/format_checks.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.registry import Registry

PARAM = "/export/formats"


@dataclass(frozen=True)
class Format:
    """One form of the same model.

    ``file`` is the path of its weights in the artifact; empty for those that transformers names. ``families`` are names
    of ARCHITECTURES. ``needs`` are the packages that write it, which the extra ``extra`` of layercut brings.
    ``tolerance`` is the share of the largest output that its own may be off from the exported model's, and ``cosine``
    the least between its vectors and the model's, where it makes vectors of texts. They find a graph of another model:
    what being off is worth is told by its score.
    """

    name: str
    summary: str
    families: tuple[str, ...]
    file: str = ""
    needs: tuple[str, ...] = ()
    extra: str = ""
    tolerance: float = 0.0
    cosine: float = 1.0

    @property
    def files(self) -> tuple[str, ...]:
        """What may be delivered of it: tensors of more than 2 GB lie in a file beside the graph."""
        return (self.file, f"{self.file}_data") if self.file else ()


_ONNX_NEEDS = ("onnx", "onnxruntime", "onnxscript")
#: Those that torch follows into one graph. It cannot follow XLNet, and an encoder-decoder needs a graph for each half.
_ONE_GRAPH = (
    "bert", "roberta", "camembert", "xlm-roberta", "distilbert", "albert", "electra", "mpnet", "deberta", "deberta-v2",
    "modernbert", "eurobert", "nomic_bert", "gpt2", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2",
    "gemma3_text", "phi3",
)  # fmt: skip

# fmt: off
FORMATS: Registry[Format] = Registry("format", "validation_failed", (
    Format("safetensors", "What transformers loads. Always delivered.", tuple(ARCHITECTURES)),
    Format("onnx", "A graph in float32, for onnxruntime, optimum and sentence-transformers with backend=\"onnx\".",
           _ONE_GRAPH, "onnx/model.onnx", _ONNX_NEEDS, "onnx", 1e-3, 0.999),
    Format("onnx-int8", "The same with weights in int8, each output channel by its own scale, and activations quantized"
           " as they come: a quarter of the size, and faster on CPUs with VNNI. Its score tells what that costs.",
           _ONE_GRAPH, "onnx/model_int8.onnx", _ONNX_NEEDS, "onnx", 0.5, 0.9),
    Format("onnx-bf16", "The same with weights in bfloat16, which are made float32 when it is loaded: half of the file,"
           " and as fast as `onnx`. onnxruntime multiplies no bfloat16 on a CPU.",
           _ONE_GRAPH, "onnx/model_bf16.onnx", _ONNX_NEEDS, "onnx", 5e-2, 0.999),
))
# fmt: on

#: Always there.
PLAIN = next(iter(FORMATS))


def further(names: Sequence[str]) -> list[Format]:
    """The rows of ``names``, without the one that every model has."""
    return [FORMATS[name] for name in names if name != PLAIN]


def settled(names: Sequence[str]) -> list[str]:
    """``names``, each of which is in the table, with the one that every model has before them, and each once."""
    return list(dict.fromkeys([PLAIN, *(FORMATS.find(name, PARAM).name for name in names)]))


def check_family(names: Sequence[str], model: ModelFacts) -> None:
    """Raise ``unsupported_format`` for a format that nothing writes of the model's family, with those that have it."""
    for row in further(names):
        if model.architecture not in row.families:
            able = [other.name for other in FORMATS.values() if model.architecture in other.families]
            raise LayercutError(
                "unsupported_format",
                f"{row.name} cannot be written of {model.architecture}; families that it can be written of:"
                f" {', '.join(row.families)}. Of {model.architecture}: {', '.join(able)}",
                param=PARAM,
            )
