"""Pruned models as they are exported, and what is asked of their verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from api_schemas.architectures import ARCHITECTURES
from api_schemas.formats import FORMATS, Format
from api_schemas.renumbering import split_layers
from api_schemas.reports import Verification
from tests.support.tiny_models import LAYERS, SENTENCES, build, inputs_of, tiny_tokenizer
from workers.export.files import export_model, write_sums
from workers.export.formats.writers import write_formats
from workers.export.verification import examine as verification
from workers.export.verify import TEXTS, Streamed, asked_of, save_probe, verify
from workers.pruning.surgery import drop_layers
from workers.runtime.casting import cast_weights
from workers.runtime.parts import Done, unheard

KEPT = [0, 1, 4, 5]


@dataclass
class Exported:
    """A pruned model in its folder, and what is asked of the verification."""

    folder: Path
    probe: Path
    model: PreTrainedModel
    source_bytes: int
    shared_layers: bool = False
    layers: dict[str, int] = field(default_factory=lambda: {"num_hidden_layers": len(KEPT)})
    kind: str = "encoder"
    streamed: Streamed | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    formats: Sequence[Format] = ()

    def asked(self, *, elsewhere: bool = False) -> dict[str, Any]:
        """What the program is asked."""
        return {
            "folder": str(self.folder),
            "probe": str(self.probe),
            "layers": self.layers,
            "source_bytes": self.source_bytes,
            "kind": self.kind,
            "shared_layers": self.shared_layers,
            "dtype": "float32",
            "mapped": False,
            "source": self.streamed and {"folder": str(self.streamed.folder), "origins": self.streamed.origins},
            "embeddings": None,
            "pipeline": None,
            "tokens": [{"text": text, "made": dict(self.tokenizer(text))} for text in TEXTS] if self.tokenizer else [],
            "formats": [asked_of(row) for row in self.formats],
            "elsewhere": elsewhere,
        }

    def examine(self) -> dict[str, tuple[bool, str]]:
        """The checks, carried out here: what they say does not depend on the process, but for the last."""
        asked = self.asked()
        return {check["name"]: (check["passed"], check["detail"]) for check in verification.examine(asked)["checks"]}

    def failed(self) -> dict[str, str]:
        return {name: detail for name, (passed, detail) in self.examine().items() if not passed and name != "alone"}

    def verify(self, waited: Done = unheard, others: Sequence[Path] = ()) -> Verification:
        return verify(
            self.folder,
            self.probe,
            layers=self.layers,
            source_bytes=self.source_bytes,
            kind=self.kind,
            shared_layers=self.shared_layers,
            streamed=self.streamed,
            tokenizer=self.tokenizer,
            formats=self.formats,
            others=others,
            waited=waited,
        )

    def write(self, *names: str) -> None:
        """Add further formats."""
        self.formats = [FORMATS[name] for name in names]
        assert self.tokenizer is not None
        write_formats(self.formats, self.model, self.folder, inputs=self.tokenizer.model_input_names)
        write_sums(self.folder)

    def change_tensors(self, **changed: torch.Tensor | None) -> None:
        """Rewrite tensors (None: leave out), and the sums with them: only the model is wrong then, not its hash."""
        tensors = load_file(self.folder / "model.safetensors") | changed
        left = {name: value for name, value in tensors.items() if value is not None}
        save_file(left, self.folder / "model.safetensors", metadata={"format": "pt"})
        write_sums(self.folder)


def exported(
    architecture: str,
    folder: Path,
    *,
    head: str = "classification",
    dtype: torch.dtype = torch.float32,
    kept: list[int] | None = None,
    **config: Any,
) -> Exported:
    """``kept`` goes through the stacks; by default KEPT of each. ``config`` overrides fields of the tiny one."""
    # Not two labels: a stock BART forgets that number, where the labels have no names.
    model = cast_weights(build(architecture, head=head, labels=3, **config), dtype)
    size = sum(weight.numel() for weight in model.parameters()) * dtype.itemsize
    row = ARCHITECTURES[architecture]
    kept = kept or [layer + LAYERS * stack for stack in range(len(row.stacks)) for layer in KEPT]
    drop_layers(model, row, kept)
    tokenizer = tiny_tokenizer(architecture)
    export_model(model, tokenizer, folder / "artifact", dtype)
    write_sums(folder / "artifact")
    inputs = inputs_of(architecture)
    probe = save_probe(model, inputs | {"labels": torch.zeros(len(SENTENCES))}, folder / "probe.safetensors")
    left = split_layers(kept, [LAYERS] * len(row.stacks))
    layers = {stack.count_field: len(own) for stack, own in zip(row.stacks, left, strict=True)}
    return Exported(
        folder / "artifact", probe, model, size, row.shared_layers, layers, row.kind, tokenizer=tokenizer
    )  # fmt: skip
