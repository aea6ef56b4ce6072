"""An ONNX file that answers as the model does which it was made of, by onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.utils.generic import ModelOutput

QUIET = 3  # errors alone


class OnnxModel(nn.Module):
    """Called as a model of transformers is; ``config`` is that of the model. What is not given of its inputs is 0, as
    in stock classes.
    """

    def __init__(self, path: Path, config: PreTrainedConfig) -> None:
        super().__init__()
        import onnxruntime  # noqa: PLC0415 - of the extra `onnx`

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = QUIET
        self.config = config
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._outputs = [each.name for each in self._session.get_outputs()]

    @property
    def base_model(self) -> OnnxModel:
        """Itself: one without a head gives the states of its tokens."""
        return self

    def forward(self, *, output_hidden_states: bool = False, **inputs: Tensor) -> Any:
        """Float32 outputs by their names, on the device of the inputs; of the layers between nothing is known."""
        zeros = torch.zeros_like(inputs["input_ids"])
        given = {name: inputs.get(name, zeros).cpu().numpy() for name in self._inputs}
        found = self._session.run(None, given)
        named = zip(self._outputs, found, strict=True)
        return ModelOutput({name: torch.from_numpy(each).to(zeros.device) for name, each in named})
