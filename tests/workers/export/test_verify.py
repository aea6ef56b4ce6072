"""What the verification finds, and what it does not let pass."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import LayercutError
from tests.support.exported_models import KEPT, Exported, exported
from tests.support.tiny_models import SENTENCES, build, heads_of, tiny_tokenizer
from workers.export import verify as verifying
from workers.export.files import export_stream, write_sums
from workers.export.verification import examine as verification
from workers.export.verify import Streamed, save_probe
from workers.pruning.surgery import drop_layers

CASES = [(architecture, head) for architecture in ARCHITECTURES for head in heads_of(architecture)]


@pytest.fixture
def bert(tmp_path: Path) -> Exported:
    return exported("bert", tmp_path)


@pytest.mark.parametrize(("architecture", "head"), CASES)
def test_what_we_export_passes_every_check(architecture: str, head: str, tmp_path: Path) -> None:
    artifact = exported(architecture, tmp_path, head=head)
    assert artifact.failed() == {}
    if artifact.shared_layers:
        assert "does not make the file smaller" in artifact.examine()["size"][1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_to_a_smaller_dtype_is_no_failure(dtype: torch.dtype, tmp_path: Path) -> None:
    assert exported("bert", tmp_path, dtype=dtype).failed() == {}


@pytest.mark.slow
def test_a_fresh_process_knows_none_of_our_code(bert: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    # What would lead it to our code, or to the network, must not reach it.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    found = bert.verify()
    assert found.passed
    assert {check.name for check in found.checks} == set(verification.CHECKS) - verification.OF_COPIES
    assert all(check.passed and check.detail for check in found.checks)
    assert set(found.versions) == {"torch", "transformers"}
    # Here, where our rooms are imported, the same check says no.
    passed, detail = bert.examine()["alone"]
    assert not passed
    assert "workers" in detail


def test_the_program_imports_nothing_of_ours() -> None:
    files = sorted(Path(verification.__file__).parent.glob("*.py"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    imported = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert not imported & verification.ROOMS
    assert {"workers", "api_schemas"} <= {name.partition(".")[0] for name in sys.modules} & verification.ROOMS


def test_a_flipped_byte_is_found(bert: Exported) -> None:
    path = bert.folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x01
    path.write_bytes(content)
    assert bert.failed()["hashes"] == "wrong hash: model.safetensors"


@pytest.mark.slow
def test_a_failed_check_comes_back_from_the_process(bert: Exported) -> None:
    (bert.folder / "config.json").write_text((bert.folder / "config.json").read_text() + " ")
    found = bert.verify()
    assert not found.passed
    assert [check.name for check in found.checks if not check.passed] == ["hashes"]


@pytest.mark.parametrize("change", ["added", "removed"])
def test_files_and_sums_must_name_the_same(bert: Exported, change: str) -> None:
    if change == "added":
        (bert.folder / "extra.json").write_text("{}")
    else:
        sums = bert.folder / "SHA256SUMS"
        sums.write_text("".join(sums.read_text(encoding="utf-8").splitlines(keepends=True)[1:]))
    assert "differ" in bert.failed()["hashes"]


def test_a_wrong_number_of_layers_is_found(bert: Exported) -> None:
    bert.layers = {"num_hidden_layers": 3}
    assert bert.failed() == {"layers": "config says 4, 4 ran, 3 were kept"}


def test_a_config_that_hides_a_layer_is_found(bert: Exported) -> None:
    path = bert.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 3}))
    write_sums(bert.folder)
    failed = bert.failed()
    assert failed.keys() == {"loads", "layers", "outputs"}
    assert "unexpected" in failed["loads"]


def test_a_missing_tensor_is_found(bert: Exported) -> None:
    bert.change_tensors(**{"bert.encoder.layer.1.output.dense.bias": None})
    assert bert.failed()["loads"] == "missing: bert.encoder.layer.1.output.dense.bias"


def test_a_superfluous_tensor_is_found(bert: Exported) -> None:
    bert.change_tensors(**{"bert.encoder.layer.4.output.dense.bias": torch.zeros(32)})
    assert bert.failed()["loads"] == "unexpected: bert.encoder.layer.4.output.dense.bias"


def test_layers_in_another_order_are_found(bert: Exported) -> None:
    tensors = load_file(bert.folder / "model.safetensors")
    one, two = "bert.encoder.layer.1.output.dense.weight", "bert.encoder.layer.2.output.dense.weight"
    bert.change_tensors(**{one: tensors[two].clone(), two: tensors[one].clone()})
    assert bert.failed().keys() == {"outputs"}


@pytest.mark.parametrize("value", [0.01, float("nan")])
def test_changed_outputs_are_found(bert: Exported, value: float) -> None:
    bias = load_file(bert.folder / "model.safetensors")["classifier.bias"].clone()
    bert.change_tensors(**{"classifier.bias": bias + value})
    assert bert.failed().keys() == {"outputs"}


@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.bin", "modeling_bert.py", "vocab.txt"])
def test_a_file_that_could_hold_code_is_found(bert: Exported, name: str) -> None:
    with (bert.folder / name).open("wb") as file:
        pickle.dump({"weights": [1, 2]}, file)
    write_sums(bert.folder)
    assert name in bert.failed()["files"]


def test_a_zipped_pickle_is_found_whatever_its_name(bert: Exported) -> None:
    torch.save({"weight": torch.zeros(1)}, bert.folder / "spiece.model")
    write_sums(bert.folder)
    assert "spiece.model" in bert.failed()["files"]


def test_a_file_that_did_not_shrink_is_found(bert: Exported) -> None:
    bert.source_bytes = sum(weight.numel() for weight in bert.model.parameters()) * 4
    assert bert.failed().keys() == {"size"}


@pytest.fixture
def copied(tmp_path: Path) -> Exported:
    """A masked language model whose file lacks a part of the head, and has tensors that its class has no place for."""
    model, tokenizer, row = build("bert", head="masked_lm"), tiny_tokenizer("bert"), ARCHITECTURES["bert"]
    model.save_pretrained(tmp_path / "source")
    tensors = load_file(tmp_path / "source" / "model.safetensors")
    del tensors["cls.predictions.transform.dense.weight"]
    tensors |= {"cls.seq_relationship.weight": torch.ones(2, 32), "bert.encoder.layer.4.extra": torch.ones(3)}
    save_file(tensors, tmp_path / "source" / "model.safetensors", metadata={"format": "pt"})
    drop_layers(model, row, KEPT)
    folder = tmp_path / "artifact"
    cut = export_stream(model, tokenizer, folder, source=tmp_path / "source", architecture=row, kept=KEPT)
    write_sums(folder)
    probe = save_probe(model, dict(tokenizer(list(SENTENCES), padding=True, return_tensors="pt")), tmp_path / "probe")
    return Exported(folder, probe, model, cut.bytes_before, streamed=Streamed(tmp_path / "source", cut.origins))


@pytest.mark.slow
def test_a_copy_may_lack_and_have_too_much_what_its_original_does(copied: Exported) -> None:
    found = copied.verify()
    assert {check.name for check in found.checks} == set(verification.CHECKS)
    assert found.passed
    loads = next(check.detail for check in found.checks if check.name == "loads")
    assert loads.startswith("as in the original, missing: cls.predictions.transform.dense.weight; unexpected: ")
    assert "bert.encoder.layer.2.extra" in loads, "the number that the layer has now"


def test_one_bit_that_is_not_the_originals_is_found(copied: Exported) -> None:
    path = copied.folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    write_sums(copied.folder)
    assert "of the original" in copied.failed()["tensors"]


def test_a_copy_that_lost_a_tensor_is_found(copied: Exported) -> None:
    copied.change_tensors(**{"bert.encoder.layer.1.output.dense.bias": None})
    failed = copied.failed()
    assert failed["tensors"] == "not there: bert.encoder.layer.1.output.dense.bias"
    assert failed["loads"].startswith("not all as in the original")


def test_layers_in_another_order_are_found_though_every_byte_is_there(copied: Exported) -> None:
    names = {
        name: name.replace("layer.0.", "layer.x.").replace("layer.1.", "layer.0.") for name in copied.streamed.origins
    }
    names = {name: new.replace("layer.x.", "layer.1.") for name, new in names.items()}
    path = copied.folder / "model.safetensors"
    save_file({names[n]: t for n, t in load_file(path).items()}, path, metadata={"format": "pt"})
    write_sums(copied.folder)
    copied.streamed = Streamed(copied.streamed.folder, {names[n]: was for n, was in copied.streamed.origins.items()})
    assert copied.failed().keys() == {"outputs"}


def test_a_tokenizer_that_pads_by_itself_is_found(bert: Exported) -> None:
    path = bert.folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    fixed = {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    path.write_text(json.dumps(tokenizer | {"padding": fixed | {"pad_type_id": 0, "pad_token": "[PAD]"}}))
    write_sums(bert.folder)
    assert bert.failed() == {"tokenizer": "BertTokenizer pads or cuts by itself"}


def test_a_folder_without_weights_fails_every_check_that_needs_them(bert: Exported) -> None:
    (bert.folder / "model.safetensors").unlink()
    write_sums(bert.folder)
    assert bert.failed().keys() == {"loads", "layers", "outputs", "pipeline", "size"}


def test_a_classifier_that_pads_with_another_token_than_its_tokenizer_is_found(tmp_path: Path) -> None:
    decoder = exported("llama", tmp_path)
    path = decoder.folder / "config.json"
    for pad_token in (None, 7):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pad_token_id": pad_token}))
        write_sums(decoder.folder)
        assert f"config.json pads with token {pad_token}, and the tokenizer with 3" in decoder.failed()["padding"]


def test_a_model_that_cannot_generate_with_a_cache_is_found(tmp_path: Path) -> None:
    """As stock T5 is where its decoder is deeper than its encoder, and the config does not say so twice."""
    deep = exported("t5", tmp_path, head="seq2seq_lm", kept=[0, 1, 6, 7, 8, 9])
    assert deep.failed() == {}
    path = deep.folder / "config.json"
    config = json.loads(path.read_text())
    del config["decoder_layers"]
    path.write_text(json.dumps(config))
    write_sums(deep.folder)
    assert deep.failed().keys() == {"generates"}


def test_a_process_that_breaks_is_an_error_of_its_own(
    bert: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no memory left')")
    monkeypatch.setattr(verifying, "PROGRAM", broken)
    with pytest.raises(LayercutError, match="ended with 1: no memory left") as caught:
        bert.verify()
    assert caught.value.code == "verification_failed"


def test_a_process_that_hangs_is_ended(bert: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = tmp_path / "endless.py"
    endless.write_text("import threading; threading.Event().wait()")
    monkeypatch.setattr(verifying, "PROGRAM", endless)
    monkeypatch.setattr(verifying, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(LayercutError, match="took longer") as caught:
        bert.verify()
    assert caught.value.code == "verification_failed"


@pytest.mark.slow
def test_one_that_reads_a_large_model_has_more_time(bert: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "TIMEOUT_SECONDS", 0.2)
    bert.source_bytes = 10**9
    assert bert.verify().passed


def test_one_that_is_killed_says_nothing_of_the_files_and_may_be_tried_again(
    bert: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = tmp_path / "dies.py"
    dies.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(verifying, "PROGRAM", dies)
    with pytest.raises(LayercutError, match="was killed by SIGKILL: the kernel does that") as caught:
        bert.verify()
    assert caught.value.kind.retryable


def test_of_a_process_that_is_stopped_nothing_is_told(
    bert: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = tmp_path / "stops.py"
    stops.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSTOP); raise SystemExit('woken')")
    monkeypatch.setattr(verifying, "PROGRAM", stops)
    monkeypatch.setattr(verifying, "WAIT_SECONDS", 0.02)
    looks, told, look = list[bool](), list[int](), verifying._stopped

    def wake_at_last(child: int) -> bool:
        looks.append(look(child))
        if looks.count(True) == 3:
            os.kill(child, signal.SIGCONT)
        return looks[-1]

    monkeypatch.setattr(verifying, "_stopped", wake_at_last)
    with pytest.raises(LayercutError, match="woken"):
        bert.verify(waited=lambda seconds, _: told.append(seconds))
    assert looks.count(True) >= 3
    assert len(told) == looks.count(False)


@pytest.mark.slow
def test_one_that_takes_its_time_is_told_of_and_waited_for(bert: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "WAIT_SECONDS", 0.05)
    told: list[int] = []
    assert bert.verify(waited=lambda seconds, _: told.append(seconds)).passed
    assert len(told) > 1
