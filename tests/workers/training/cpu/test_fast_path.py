"""The one door: what suits a model is in place inside, nothing is afterwards, and nothing where it is switched off."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from tests.support.tiny_models import CLASSIFIERS, build
from tests.support.trainings import CPU, KIND, RECOVERY, Killed, Run, assert_same, features_of, plain_loop, weights
from workers.data.batches import RowIndexes, collate, training_batches
from workers.data.features import Features
from workers.training.cpu import Engine, fast_path
from workers.training.cpu.blocks import BLOCKS
from workers.training.loop import train
from workers.training.objectives.losses import StudentOutput, TrainingObjective, label_objective
from workers.training.objectives.teacher import live_targets

GPU = torch.device("cuda")


def parts_of(model: PreTrainedModel) -> set[str]:
    """What of the engine is in ``model``."""
    found = {
        "encoder": any("forward" in vars(module) for module in model.modules()),
        "dropout": any(isinstance(module, nn.Dropout) and type(module) is not nn.Dropout for module in model.modules()),
        "attention": model.config._attn_implementation != "sdpa",
    }
    return {part for part, there in found.items() if there}


def enter(model: PreTrainedModel, device: torch.device = CPU, *, left: bool = False, on: bool = True) -> Engine:
    """The engine, whose name must say what is in the model inside."""
    before = parts_of(model)
    with fast_path(model, device, torch.float32, left=left, on=on) as engine:
        inside = parts_of(model) - before
    assert parts_of(model) == before
    if engine.name == "packed":
        assert inside == {"encoder", "dropout", "attention"}
    if engine.name == "quick":
        assert "encoder" not in inside
    if engine.name == "plain":
        assert not inside
    return engine


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_every_architecture_has_its_engine_and_none_is_refused(architecture: str) -> None:
    model = build(architecture, layers=2)
    assert enter(model) == Engine("packed" if architecture in BLOCKS else "quick")
    assert enter(model, GPU) == Engine("plain")
    for device in (CPU, GPU):
        assert enter(model, device, on=False) == Engine("plain", stock=True)


@pytest.mark.parametrize("head", ["token_classification", "base"])
@pytest.mark.parametrize("architecture", BLOCKS)
def test_taggers_and_what_is_pooled_are_packed_too(architecture: str, head: str) -> None:
    assert enter(build(architecture, head=head, layers=2)) == Engine("packed")


def test_quick_is_dropout_and_attention_in_the_models_own_layers() -> None:
    model = build("mpnet", layers=2)
    with fast_path(model, CPU, torch.float32, left=False) as engine:
        assert (engine.name, parts_of(model)) == ("quick", {"dropout", "attention"})


def test_whoever_reads_more_or_is_built_otherwise_keeps_its_encoder() -> None:
    assert enter(build("bert", head="masked_lm", layers=2)).name == "quick"
    assert enter(build("bert", layers=2), left=True).name == "quick"
    assert enter(build("bert", layers=2).to(torch.bfloat16)).name == "quick"
    for changed in ("is_decoder", "output_hidden_states"):
        model = build("bert", layers=2)
        setattr(model.config, changed, True)
        assert enter(model).name == "quick"


def test_inside_itself_it_does_nothing() -> None:
    model = build("bert", layers=2)
    with fast_path(model, CPU, torch.float32, left=False):
        assert enter(model).name == "plain"


def test_switched_off_it_is_the_loop_that_anyone_would_write(features: Features) -> None:
    """Torch's own dropout among it: its masks are the very same."""
    model = build("bert", layers=2)
    plain = copy.deepcopy(model)
    changes = {"epochs": 1, "weight_decay": 0.1, "warmup_ratio": 0.0, "learning_rate": 1e-3}
    recovery = RECOVERY.model_copy(update=changes)
    objective = label_objective(KIND, features, CPU)
    train(KIND, model, features, objective, recovery, seed=3, device=CPU, on_step=lambda step: None, engine=False)
    torch.manual_seed(3)
    plain_loop(plain, features, learning_rate=1e-3, weight_decay=0.1)
    for name, weight in plain.state_dict().items():
        # A gradient that is rounding alone, as that of a key's bias, becomes whole steps of Adam: a step is 1e-3.
        assert "key.bias" in name or torch.allclose(model.state_dict()[name], weight, rtol=1e-4, atol=1e-4), name


@pytest.mark.parametrize("words", [False, True])
def test_switched_off_the_models_own_table_is_trained_or_stands_still(words: bool, features: Features) -> None:
    model = build("bert", layers=2)
    table = model.get_input_embeddings()
    before, seen = table.weight.clone(), []
    loss = label_objective(KIND, features, CPU).loss

    def watched(student: StudentOutput, rows: RowIndexes) -> torch.Tensor:
        seen.append(model.get_input_embeddings())
        return loss(student, rows)

    objective = TrainingObjective(watched, words=words)
    train(KIND, model, features, objective, RECOVERY, seed=3, device=CPU, on_step=lambda step: None, engine=False)
    assert all(one is table for one in seen)
    assert torch.equal(table.weight, before) is not words
    assert table.weight.requires_grad


def test_switched_off_an_interrupted_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, model = build("bert", layers=2), build("bert", layers=2)
    Run(tmp_path / "whole").go(whole, engine=False)
    with pytest.raises(Killed):
        Run(tmp_path / "cut").go(build("bert", layers=2), kill_after=17, engine=False)
    trained = Run(tmp_path / "cut", attempt=2).go(model, engine=False)
    assert_same(weights(model), weights(whole))
    assert trained.engine == "plain"


@pytest.mark.parametrize("engine", [False, True])
def test_a_teacher_answers_the_same_with_and_without(engine: bool) -> None:
    features, baseline = features_of("bert"), build("bert", layers=3)
    rows = training_batches(features, 8, seed=3, epoch=0)[0]
    inputs = collate(features, rows, CPU)
    with torch.no_grad():
        wanted = baseline(**inputs).logits
    with live_targets(KIND, baseline, [], device=CPU, precision="fp32", left=False, engine=engine) as targets:
        assert bool(parts_of(baseline)) is engine
        assert torch.allclose(targets(inputs, rows).values, wanted, atol=1e-6)
