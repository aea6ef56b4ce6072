"""Models and tokenizers out of folders as users bring them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from api_schemas.architectures import ARCHITECTURES, ModelFacts
from api_schemas.errors import LayercutError
from api_schemas.labels import head_order
from tests.support.tiny_models import CLASSIFIERS, LAYERS, SENTENCES, edit_json, heads_of, tiny_model, tiny_tokenizer
from workers.kinds.table import plain_kind
from workers.runtime.loading import load_for_task, load_source, load_tokenizer, read_rows_as_decoder

TASKED = [(architecture, head) for architecture in CLASSIFIERS for head in heads_of(architecture)]


def facts_of(folder: Path, architecture: str = "bert", **changed: object) -> ModelFacts:
    classes = json.loads((folder / "config.json").read_text())["architectures"]
    facts = ModelFacts(id="tiny", architecture=architecture, layers=LAYERS, hidden_size=32, classes=classes)
    return facts.model_copy(update={"dtype": "float32"} | changed)


def edit(folder: Path, *, drop: str = "\0", add: dict[str, torch.Tensor] | None = None) -> None:
    tensors = {name: value for name, value in load_file(folder / "model.safetensors").items() if drop not in name}
    save_file({**tensors, **(add or {})}, folder / "model.safetensors", metadata={"format": "pt"})


# --- tokenizers


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_baked_in_padding_and_cutting_are_turned_off_and_not_exported(architecture: str, tmp_path: Path) -> None:
    tiny_tokenizer(architecture).save_pretrained(tmp_path)
    plain = tiny_tokenizer(architecture)(SENTENCES[0])["input_ids"]
    side = tiny_tokenizer(architecture).padding_side
    baked = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    pad = tiny_tokenizer(architecture).pad_token
    baked.enable_padding(length=128, pad_token=pad, pad_id=baked.token_to_id(pad), direction=side)
    baked.enable_truncation(max_length=8)
    baked.save(str(tmp_path / "tokenizer.json"))

    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer(SENTENCES[0])["input_ids"] == plain
    assert tokenizer.backend_tokenizer.encode(SENTENCES[0]).ids == plain
    tokenizer([*SENTENCES[:2]], padding="max_length", truncation=True, max_length=12)
    assert len(tokenizer(["one", "one two"], padding=True)["input_ids"]) == 2

    load_tokenizer(tmp_path).save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "again" / "tokenizer.json").read_text())
    assert written["padding"] is None
    assert written["truncation"] is None
    config = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())
    assert not {"max_length", "stride", "truncation_strategy", "is_local", "local_files_only"} & config.keys()
    assert load_tokenizer(tmp_path / "again").padding_side == side


def test_a_folder_with_a_vocabulary_alone_has_a_tokenizer(tmp_path: Path) -> None:
    """As old BERT repositories are: vocab.txt and config.json, no tokenizer files."""
    tiny_model("bert", tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    words = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    assert load_tokenizer(tmp_path)(SENTENCES[0])["input_ids"] == tokenizer(SENTENCES[0])["input_ids"]


@pytest.mark.parametrize("architecture", ["gemma", "gemma2", "gemma3_text", "llama"])
def test_where_a_sentencepiece_model_lay_is_not_saved(architecture: str, tmp_path: Path) -> None:
    """As old Gemma repositories are: tokenizer.model, and no tokenizer.json."""
    tiny_model(architecture, tmp_path)
    learn_sentencepiece(tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.json").unlink()
    load_tokenizer(tmp_path).save_pretrained(tmp_path / "again")
    assert str(tmp_path) not in (tmp_path / "again" / "tokenizer_config.json").read_text(encoding="utf-8")
    assert numbers_of(tmp_path / "again") == numbers_of(tmp_path)


def numbers_of(folder: Path) -> list[int]:
    return load_tokenizer(folder)(SENTENCES[0])["input_ids"]


def learn_sentencepiece(path: Path) -> None:
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_prefix=str(path.with_suffix("")), vocab_size=130, model_type="bpe",
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny_model("bert", tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(LayercutError, match="tokenizer") as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == "model_invalid"


def test_a_decoder_without_a_padding_token_pads_on_the_right_with_the_end_of_the_text(tmp_path: Path) -> None:
    """As GPT-2 and Llama come, and Llama pads on the left."""
    tiny_tokenizer("llama").save_pretrained(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", pad_token=None)
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.pad_token, tokenizer.padding_side) == (None, "left")
    read_rows_as_decoder(tokenizer)
    tokenizer.save_pretrained(tmp_path / "again")
    again = load_tokenizer(tmp_path / "again")
    assert (again.pad_token, again.padding_side) == ("</s>", "right")


def test_a_decoder_with_nothing_to_pad_with_is_refused(tmp_path: Path) -> None:
    tiny_tokenizer("llama").save_pretrained(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", pad_token=None, eos_token=None)
    tokenizer = load_tokenizer(tmp_path)
    with pytest.raises(LayercutError, match="neither a padding nor an end-of-text token") as caught:
        read_rows_as_decoder(tokenizer)
    assert caught.value.code == "model_invalid"


# --- the source as it was saved


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_source_keeps_the_dtype_of_its_weights_whatever_its_config_says(dtype: torch.dtype, tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path, dtype=dtype)
    edit_json(folder / "config.json", dtype="float32")
    model = load_source(folder, facts_of(folder, dtype=str(dtype).removeprefix("torch.")))
    assert {weight.dtype for weight in model.parameters()} == {dtype}


def test_what_is_missing_from_the_checkpoint_is_told(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path, head="base")
    edit(folder, drop="pooler.")
    warnings: list[str] = []
    load_source(folder, facts_of(folder), warnings)
    assert warnings == ["not in the checkpoint, so initialised at random: pooler.dense.bias, pooler.dense.weight"]


def test_what_the_class_has_no_place_for_is_told(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path, head="base")
    edit(folder, add={"extra.weight": torch.zeros(2)})
    warnings: list[str] = []
    load_source(folder, facts_of(folder), warnings)
    assert warnings == ["in the checkpoint but not in the model's class, so left out: extra.weight"]
    copied: list[str] = []
    load_source(folder, facts_of(folder), copied, copied=True)
    assert copied == ["in the checkpoint but not in the model's class, so copied as they are: extra.weight"]


@pytest.mark.parametrize("field", ["attn_implementation", "_attn_implementation", "experts_implementation"])
@pytest.mark.parametrize("asked", ["flash_attention_2", "kernels-community/flash-attn3", 7])
def test_attention_that_this_machine_lacks_is_not_asked_for(field: str, asked: Any, tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path)
    edit_json(folder / "config.json", **{field: asked})
    assert load_source(folder, facts_of(folder)).config._attn_implementation == "sdpa"
    model = load_for_task(folder, plain_kind("classification", ("a", "b")).head, seed=0)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer_norm_eps": "small"}, "layer_norm_eps.* expected float, got str"),
        ({"dtype": "float99"}, "float99"),
        ({"hidden_act": "magic"}, "magic"),
        ({"id2label": ["a", "b"]}, "config.json cannot be read"),
        ({"intermediate_size": 65}, r"intermediate.dense.weight \[64, 32\] for \[65, 32\]"),
    ],
)
def test_whatever_a_library_says_of_a_model_is_the_models_fault(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = tiny_model("bert", tmp_path)
    facts = facts_of(folder)
    edit_json(folder / "config.json", **change)
    with pytest.raises(LayercutError, match=said) as caught:
        load_source(folder, facts)
    assert (caught.value.code, caught.value.kind.retryable) == ("model_invalid", False)


@pytest.mark.parametrize(
    ("architecture", "tied"), [("roberta", "lm_head.decoder"), ("bert", "cls.predictions.decoder")]
)
def test_tied_weights_that_are_written_twice_are_no_surprise(architecture: str, tied: str, tmp_path: Path) -> None:
    """Older versions of transformers wrote the tied copies too."""
    folder = tiny_model(architecture, tmp_path, head="masked_lm")
    tensors = load_file(folder / "model.safetensors")
    table = tensors[f"{architecture}.embeddings.word_embeddings.weight"].clone()
    bias = next(value for name, value in tensors.items() if name.endswith(("lm_head.bias", "predictions.bias")))
    edit(folder, add={f"{tied}.weight": table, f"{tied}.bias": bias.clone()})
    warnings: list[str] = []
    model = load_source(folder, facts_of(folder, architecture), warnings)
    assert warnings == []
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize("gone", ["encoder.layer.3.output.dense.weight", "embeddings.word_embeddings"])
def test_a_checkpoint_that_lacks_part_of_a_layer_is_refused(gone: str, tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path)
    edit(folder, drop=gone)
    for load in (lambda: load_source(folder, facts_of(folder)), lambda: task_model(folder)):
        with pytest.raises(LayercutError, match=gone) as caught:
            load()
        assert caught.value.code == "model_invalid"


def test_a_config_with_fewer_layers_than_the_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path)
    edit_json(folder / "config.json", num_hidden_layers=4)
    for load in (lambda: load_source(folder, facts_of(folder, layers=4)), lambda: task_model(folder)):
        with pytest.raises(LayercutError, match=r"says 4 layers.*also has layers \[4, 5\]"):
            load()


def test_tensors_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path)
    edit_json(folder / "config.json", intermediate_size=48)
    for load in (lambda: load_source(folder, facts_of(folder)), lambda: task_model(folder)):
        with pytest.raises(LayercutError) as caught:
            load()
        assert caught.value.code == "model_invalid"


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(LayercutError) as caught:
        load_source(folder, facts_of(folder))
    assert caught.value.code == "model_invalid"


def test_a_class_of_ones_own_gives_the_base_model_and_says_so(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path)
    warnings: list[str] = []
    model = load_source(folder, facts_of(folder, classes=["BertForMyThing"]), warnings)
    assert type(model).__name__ == "BertModel"
    assert "BertForMyThing is not a class of transformers" in warnings[0]


# --- with a head for a task


def task_model(
    folder: Path,
    *,
    labels: tuple[str, ...] = ("no", "yes"),
    order: list[int] | None = None,
    seed: int = 1,
    regression: bool = False,
    mean: float = 0.0,
    pad_token: int | None = None,
) -> PreTrainedModel:
    kind = plain_kind("regression") if regression else plain_kind("classification", labels)
    return load_for_task(folder, kind.head, order=order, seed=seed, mean=mean, pad_token=pad_token)


@pytest.mark.parametrize(("architecture", "head"), TASKED)
def test_every_class_becomes_a_classifier(architecture: str, head: str, tmp_path: Path) -> None:
    folder = tiny_model(architecture, tmp_path, head=head, dtype=torch.float16)
    model = task_model(folder, labels=("a", "b", "c"), pad_token=tiny_tokenizer(architecture).pad_token_id)
    assert type(model).__name__.endswith("ForSequenceClassification")
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert model.config.problem_type == "single_label_classification"
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    inputs = tiny_tokenizer(architecture)(list(SENTENCES), padding=True, return_tensors="pt")
    assert model(**inputs).logits.shape == (len(SENTENCES), 3)


def test_a_regression_has_one_output(tmp_path: Path) -> None:
    model = task_model(tiny_model("bert", tmp_path, head="base"), regression=True)
    assert model.config.problem_type == "regression"
    assert model.classifier.out_features == 1


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_a_new_head_of_a_regression_begins_at_the_labels_mean(architecture: str, tmp_path: Path) -> None:
    """Heads of decoders have no bias to begin with."""
    folder, tokenizer = tiny_model(architecture, tmp_path, head="base"), tiny_tokenizer(architecture)
    inputs = tokenizer(list(SENTENCES), padding=True, return_tensors="pt")
    options = {"regression": True, "pad_token": tokenizer.pad_token_id}
    with torch.inference_mode():
        at_0, at_70 = (task_model(folder, mean=mean, **options)(**inputs).logits for mean in (0.0, 70.0))
    shift = 0.0 if ARCHITECTURES[architecture].kind == "decoder" else 70.0
    torch.testing.assert_close(at_70, at_0 + shift, rtol=0, atol=1e-3)


def test_a_head_that_was_learnt_begins_where_it_was(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path, labels=1)
    own = load_file(folder / "model.safetensors")["classifier.bias"]
    assert torch.equal(task_model(folder, regression=True, mean=70.0).classifier.bias, own)


def test_a_new_head_follows_the_seed_and_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path, head="base")
    state = torch.random.get_rng_state()
    first, again, other = (task_model(folder, seed=seed).classifier.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_checkpoints_own_head_is_used_where_it_fits(tmp_path: Path) -> None:
    folder = tiny_model("bert", tmp_path, labels=3)
    own = load_file(folder / "model.safetensors")["classifier.weight"]
    assert torch.equal(task_model(folder, labels=("a", "b", "c")).classifier.weight, own)
    assert task_model(folder).classifier.weight.shape == (2, 32)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_a_head_with_the_same_labels_in_another_order_is_put_in_order(architecture: str, tmp_path: Path) -> None:
    """As roberta-large-mnli, whose first label is CONTRADICTION and not entailment."""
    theirs, ours = ("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), ("entailment", "neutral", "contradiction")
    folder = tiny_model(architecture, tmp_path, labels=3)
    edit_json(folder / "config.json", id2label=dict(enumerate(theirs)), label2id={n: i for i, n in enumerate(theirs)})
    inputs = tiny_tokenizer(architecture)(list(SENTENCES), padding=True, return_tensors="pt")
    with torch.inference_mode():
        facts = facts_of(folder, architecture)
        said = load_source(folder, facts)(**inputs)[0]
        pad_token = tiny_tokenizer(architecture).pad_token_id
        order = head_order(theirs, ours, None, numbered=False)
        asked = task_model(folder, labels=ours, order=order, pad_token=pad_token)(**inputs)[0]
    torch.testing.assert_close(asked, said.flip(1))


def test_only_what_is_not_the_head_is_warned_of(tmp_path: Path) -> None:
    folder, head = tiny_model("bert", tmp_path, head="base"), plain_kind("classification", ("no", "yes")).head
    warnings: list[str] = []
    load_for_task(folder, head, seed=0, warnings=warnings)
    assert warnings == []
    edit(folder, drop="pooler.")
    load_for_task(folder, head, seed=0, warnings=warnings)
    assert len(warnings) == 1
    assert "bert.pooler.dense.weight" in warnings[0]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")
def test_weights_stay_in_their_file_until_they_are_used(tmp_path: Path) -> None:
    # What lets a model that is larger than memory be verified: its weights must not become memory of the process.
    folder = tiny_model("bert", tmp_path, head="base", vocab_size=400_000)
    before = anonymous_memory()
    model = load_source(folder, facts_of(folder))
    model(torch.tensor([[1, 399_999]]))
    assert anonymous_memory() - before < model.get_input_embeddings().weight.nbytes / 2


def anonymous_memory() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
