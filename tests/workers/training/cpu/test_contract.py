"""A model that somebody watches, or has altered, is trained with its own modules: what they wait for comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrize
from transformers import PreTrainedModel

from tests.support.tiny_models import build, inputs_of
from tests.support.trainings import CPU, KIND, RECOVERY, features_of
from workers.training.cpu import Engine, fast_path
from workers.training.hooks import TrainingHooks
from workers.training.loop import train
from workers.training.objectives.losses import label_objective
from workers.training.trainer_state import TrainResult

GPU = torch.device("cuda")
LAYER, QUERY = "bert.encoder.layer.1", "bert.encoder.layer.1.attention.self.query"
TABLE = "bert.embeddings.word_embeddings"


def nothing(*_: Any) -> None:
    pass


class LoraLinear(nn.Linear):
    """As an adapter puts one in the place of another."""


class Halved(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight / 2


def adapt(model: PreTrainedModel) -> None:
    model.bert.encoder.layer[1].attention.self.query = LoraLinear(32, 32)


def override(model: PreTrainedModel) -> None:
    layer = model.bert.encoder.layer[1]
    layer.forward = layer.forward


def at(path: str, change: Callable[[Any], Any]) -> Callable[[PreTrainedModel], None]:
    """``change`` the module or the weight of that name."""

    def changed(model: PreTrainedModel) -> None:
        *_, last = path.split(".")
        change(model.get_parameter(path) if last == "weight" else model.get_submodule(path))

    return changed


CHANGES: dict[str, tuple[Callable[[PreTrainedModel], None], str]] = {
    "hook": (at(LAYER, lambda it: it.register_forward_hook(nothing)), f"{LAYER} has a hook"),
    "pre-hook": (at(QUERY, lambda it: it.register_forward_pre_hook(nothing)), f"{QUERY} has a hook"),
    "backward hook": (at(LAYER, lambda it: it.register_full_backward_hook(nothing)), f"{LAYER} has a hook"),
    "backward pre-hook": (at(LAYER, lambda it: it.register_full_backward_pre_hook(nothing)), f"{LAYER} has a hook"),
    "on the encoder": (at("bert.encoder", lambda it: it.register_forward_hook(nothing)), "bert.encoder has a hook"),
    "on the base": (at("bert", lambda it: it.register_forward_hook(nothing)), "bert has a hook"),
    "on the model": (
        at("", lambda it: it.register_forward_hook(nothing)), "BertForSequenceClassification has a hook"
    ),
    "on the table": (at(TABLE, lambda it: it.register_forward_hook(nothing)), f"{TABLE} has a hook"),
    "on a gradient": (
        at(f"{QUERY}.weight", lambda it: it.register_hook(nothing)), f"{QUERY}.weight has a hook on its gradient"
    ),
    "after a gradient": (
        at(f"{QUERY}.weight", lambda it: it.register_post_accumulate_grad_hook(nothing)),
        f"{QUERY}.weight has a hook on its gradient",
    ),
    "adapter": (adapt, f"{QUERY} has a class that is not of transformers or torch"),
    "parametrization": (
        at(QUERY, lambda it: parametrize.register_parametrization(it, "weight", Halved())),
        f"{QUERY} has a class that is not of transformers or torch",
    ),
    "forward": (override, f"{LAYER} has a forward of its own"),
    "compiled": (at(LAYER, lambda it: it.compile(backend="eager")), f"{LAYER} is compiled"),
    "recomputed": (lambda model: model.activation_checkpointing_enable(), "activation checkpointing is asked for"),
}  # fmt: skip


def engine_for(model: PreTrainedModel, device: torch.device = CPU) -> Engine:
    with fast_path(model, device, torch.float32, left=False) as engine:
        return engine


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_engine_would_pass_over_is_refused_by_name(change: str) -> None:
    model = build("bert", layers=2)
    make, told = CHANGES[change]
    make(model)
    assert engine_for(model) == Engine("plain", stock=True, refused=told)


def test_on_a_gpu_the_table_alone_is_replaced() -> None:
    model = build("bert", layers=2)
    model.bert.encoder.layer[0].register_forward_hook(nothing)
    assert engine_for(model, GPU) == Engine("plain")
    model.bert.embeddings.word_embeddings.register_forward_hook(nothing)
    assert engine_for(model, GPU) == Engine("plain", stock=True, refused=f"{TABLE} has a hook")


@contextmanager
def watched_by_all() -> Iterator[None]:
    hook = register_module_forward_hook(nothing)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def among_others() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("state", "told"), [(watched_by_all, "hooks on all modules"), (among_others, "processes")])
def test_what_holds_of_the_process_is_refused_as_well(state: Callable[[], Any], told: str) -> None:
    model = build("bert", layers=2)
    with state():
        assert told in str(engine_for(model).refused)
    assert engine_for(model).name == "packed"


@pytest.mark.parametrize("path", ["bert.embeddings", "bert.pooler", "dropout", "classifier"])
def test_hooks_where_nothing_is_replaced_are_no_obstacle(path: str) -> None:
    model, calls = build("bert", layers=2), []
    model.get_submodule(path).register_forward_hook(lambda *_: calls.append(path))
    assert fit(model, TrainingHooks()).engine == "packed"
    assert calls


def test_hooks_that_were_removed_and_those_of_transformers_are_no_obstacle() -> None:
    model = build("bert", layers=2)
    for hook in [module.register_forward_hook(nothing) for module in model.modules()]:
        hook.remove()
    with torch.no_grad():
        model(**inputs_of("bert"), output_hidden_states=True)
    assert any(layer._forward_hooks for layer in model.bert.encoder.layer), "transformers has left its own"
    assert engine_for(model).name == "packed"


def fit(model: PreTrainedModel, hooks: TrainingHooks) -> TrainResult:
    features = features_of("bert")
    recovery = RECOVERY.model_copy(update={"epochs": 0.5})
    objective = label_objective(KIND, features, CPU)
    return train(KIND, model, features, objective, recovery, seed=3, device=CPU, on_step=lambda step: None, hooks=hooks)


def test_a_hook_on_a_layer_is_called_and_the_report_says_what_it_costs() -> None:
    model, hooks, shapes = build("bert", layers=2), TrainingHooks(), []
    model.bert.encoder.layer[1].register_forward_hook(lambda _, __, output: shapes.append(output.shape[::2]))
    trained = fit(model, hooks)
    assert trained.engine == "plain"
    assert shapes == [(8, 32)] * trained.steps
    (warning,) = hooks.warnings
    assert warning.endswith(f"CPU engine: {LAYER} has a hook")


def test_hooks_on_gradients_are_called() -> None:
    model, seen = build("bert", layers=2), []
    model.get_parameter(f"{QUERY}.weight").register_hook(lambda gradient: seen.append(gradient.shape))
    trained = fit(model, TrainingHooks())
    assert seen == [(32, 32)] * trained.steps
