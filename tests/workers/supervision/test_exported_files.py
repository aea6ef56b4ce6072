"""What is exported is checked by the supervisor: all that a job may deliver passes, and nothing else does."""

from __future__ import annotations

import copy
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from api_schemas.architectures import ARCHITECTURES
from api_schemas.errors import LayercutError
from api_schemas.objectives import Objective
from api_schemas.reports import Bracket, Candidate, CurvePoint, Search, Trial
from sources.model_folder import folder_modules, folder_of
from tests.support.embedding_models import NORMALIZE, POOLING, add_modules, dense, embedding_model
from tests.support.reports import report
from tests.support.tiny_models import LAYERS, build, edit_json, heads_of, tiny_model, tiny_tokenizer
from workers.export.card import make_card
from workers.export.embeddings import copy_modules
from workers.export.files import export_model, export_stream, write_sums
from workers.pruning.surgery import drop_layers
from workers.runtime.loading import load_tokenizer
from workers.supervision.exported_files import MAX_FILES, check_exported, list_files, take_over
from workers.supervision.publishing import most_bytes
from workers.supervision.runner_folders import entered

CASES = [(architecture, head) for architecture in ARCHITECTURES for head in heads_of(architecture)]


def kept_of(architecture: str) -> list[int]:
    return [layer + LAYERS * stack for stack in range(len(ARCHITECTURES[architecture].stacks)) for layer in (0, 1, 5)]


def with_its_papers(folder: Path) -> Path:
    """As a job delivers it."""
    (folder / "report.json").write_text(report().model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(make_card(report()), encoding="utf-8")
    write_sums(folder)
    return folder


def taken(source: Path, target: Path, limit: int = 2**30) -> list[str]:
    target.mkdir()
    with entered(source.parent, source.name) as theirs, entered(target) as ours:
        names = take_over(theirs, ours, limit, lambda: False)
    check_exported(target, names)
    return names


def refusal(source: Path, target: Path, limit: int = 2**30) -> str:
    with pytest.raises(LayercutError) as caught:
        taken(source, target, limit)
    assert caught.value.code == "verification_failed"
    assert not caught.value.kind.retryable
    assert str(source.parent) not in caught.value.message
    assert caught.value.message.count("is not published") == 1
    return caught.value.message


@pytest.mark.parametrize(("architecture", "head"), CASES)
def test_what_is_exported_of_each_family_passes(architecture: str, head: str, tmp_path: Path) -> None:
    model = build(architecture, head=head, labels=3)
    drop_layers(model, ARCHITECTURES[architecture], kept_of(architecture))
    folder = tmp_path / "artifact"
    export_model(model, tiny_tokenizer(architecture), folder, torch.bfloat16)
    names = taken(with_its_papers(folder), tmp_path / "taken")
    assert {*names, "SHA256SUMS"} == {path.name for path in folder.iterdir()}
    for name in names:
        assert (tmp_path / "taken" / name).read_bytes() == (folder / name).read_bytes()


def test_a_copied_model_in_shards_with_modules_and_templates_passes(tmp_path: Path) -> None:
    model, source = build("bert", head="base"), tiny_model("bert", tmp_path / "source", head="base")
    (source / "model.safetensors").unlink()
    model.save_pretrained(source, max_shard_size="40KB")
    add_modules(source, POOLING, dense(32, 16), NORMALIZE)
    modules = folder_modules(folder_of(source, "x"))
    assert modules is not None
    folder = tmp_path / "artifact"
    tokenizer = copy.deepcopy(tiny_tokenizer("bert"))  # which other tests have too
    tokenizer.chat_template = {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    export_stream(
        model, tokenizer, folder, source=source, architecture=ARCHITECTURES["bert"], kept=kept_of("bert")
    )  # fmt: skip
    copy_modules(modules, source, folder)
    names = taken(with_its_papers(folder), tmp_path / "taken")
    assert {"2_Dense/model.safetensors", "1_Pooling/config.json", "modules.json"} <= set(names)
    assert {"chat_template.jinja", "additional_chat_templates/tool_use.jinja"} <= set(names)
    assert len([name for name in names if name.startswith("model-")]) > 1


@pytest.mark.parametrize("named", [{"boi_token": "a"}, {"extra_special_tokens": {"image_token": "a"}}], ids=str)
def test_a_tokenizer_with_tokens_of_its_models_own_passes(named: dict[str, object], tmp_path: Path) -> None:
    """As Gemma 3 has them: `transformers` saves them under another key than the one that it read."""
    source = tiny_model("gemma3_text", tmp_path / "source", head="base")
    edit_json(source / "tokenizer_config.json", **named)
    folder = tmp_path / "artifact"
    export_model(build("gemma3_text", head="base"), load_tokenizer(source), folder, torch.float32)
    assert "model_specific_special_tokens" in (folder / "tokenizer_config.json").read_text(encoding="utf-8")
    taken(with_its_papers(folder), tmp_path / "taken")


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = embedding_model(tmp_path / "artifact", NORMALIZE)
    return with_its_papers(folder)


def second_name(path: Path) -> None:
    (path.parents[1] / "secret").write_text("{}")
    os.link(path.parents[1] / "secret", path)


PLANTED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a pickle": ("pytorch_model.bin", Path.touch, "is no file that a job delivers"),
    "code": ("modeling_bert.py", Path.touch, "is no file that a job delivers"),
    "the store's own list": ("manifest.json", lambda path: path.write_text("{}"), "is no file that a job delivers"),
    "a hidden file": (".gitattributes", Path.touch, "is no file that a job delivers"),
    "a tar": ("model.tar", Path.touch, "is no file that a job delivers"),
    "a shard of no number": ("model-x-of-y.safetensors", Path.touch, "is no file that a job delivers"),
    "a folder of its own": ("code", Path.mkdir, "is no file that a job delivers"),
    "a pickle by another name": ("merges.txt", lambda path: path.write_bytes(b"PK\x03\x04"), "begins as a pickle"),
    "code in a folder of a module": ("1_Pooling/x.py", Path.touch, "is no file that a job delivers"),
    "a folder in one": ("1_Pooling/config.json", lambda path: path.unlink() or path.mkdir(), "is no regular file"),
    "a link": ("vocab.json", lambda path: path.symlink_to("/etc/passwd"), "is a link"),
    "a linked folder": ("3_Dense", lambda path: path.symlink_to("/etc"), "is a link"),
    "a pipe": ("vocab.json", os.mkfifo, "is no regular file"),
    "a second name": ("vocab.json", second_name, "has a second name"),
    "a hole": ("model.safetensors", lambda path: os.truncate(path, 2**29), "is sparse"),
    "small, and large": ("merges.txt", lambda path: path.write_bytes(bytes(64 * 2**20 + 1)), "at most 67108864"),
    "what runs on": (
        "model.safetensors",
        lambda path: path.write_bytes(path.read_bytes() + b"#!"),
        "its tensors end",
    ),
    "remote code": ("config.json", lambda path: path.write_text('{"auto_map": {"AutoModel": "x.Y"}}'), "remote code"),
    "a file's name": ("tokenizer_config.json", lambda path: path.write_text('{"vocab_file": "/etc/x"}'), "vocab_file"),
    "a list of weights": ("modules.json", lambda path: path.write_text("[]"), "modules.json"),
    "deep": ("generation_config.json", lambda path: path.write_text('{"a":' * 40 + "1" + "}" * 40), "deep"),
    "no report": ("report.json", lambda path: path.write_text('{"layers": 3}'), "is no report"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_no_job_delivers_is_refused_by_its_name(export: Path, tmp_path: Path, what: str) -> None:
    name, plant, why = PLANTED[what]
    plant(export / name)
    said = refusal(export, tmp_path / "taken")
    assert name in said
    assert why in said


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_without_a_model_it_is_none(export: Path, tmp_path: Path, name: str) -> None:
    (export / name).unlink()
    assert name in refusal(export, tmp_path / "taken")


def test_names_that_no_text_can_have_are_told_in_ascii(export: Path, tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(export) + b"/vocab\xff\n.json"))).touch()
    assert r"'vocab\udcff\n.json'" in refusal(export, tmp_path / "taken")


def test_too_much_is_refused_before_a_byte_is_copied(export: Path, tmp_path: Path) -> None:
    size = sum(path.stat().st_size for path in export.rglob("*") if path.is_file())
    assert f"have {size} bytes, and at most {size - 1}" in refusal(export, tmp_path / "taken", size - 1)
    for number in range(MAX_FILES):
        (export / f"model-{number:05}-of-99999.safetensors").touch()
    assert f"more than {MAX_FILES} files" in refusal(export, tmp_path / "again")
    assert [*(tmp_path / "taken").iterdir(), *(tmp_path / "again").iterdir()] == []


def test_headers_are_bounded_together(export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.chosen_files.MAX_HEADERS", 100)
    assert "headers of more than 100 bytes" in refusal(export, tmp_path / "taken")


def test_how_much_may_be_is_by_what_was_read_and_by_setting() -> None:
    assert most_bytes(10 * 2**30, 2**40) == 81 * 2**30
    assert most_bytes(10**12, 2**40) == 2**40


def test_a_file_that_its_runner_holds_open_is_not_what_is_published(export: Path, tmp_path: Path) -> None:
    before = (export / "README.md").read_bytes()
    with (export / "README.md").open("r+b") as held:
        taken(export, tmp_path / "taken")
        held.write(b"changed")
    assert (tmp_path / "taken" / "README.md").read_bytes() == before


def test_a_disk_that_packs_what_is_on_it_has_no_sparse_files(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that the largest file takes one block, and that there is no hole."""
    real = os.fstat

    def packed(handle: int) -> SimpleNamespace:
        found = real(handle)
        names = (name for name in dir(found) if name.startswith("st_"))
        return SimpleNamespace(**{name: getattr(found, name) for name in names} | {"st_blocks": 1})

    monkeypatch.setattr(os, "fstat", packed)
    taken(export, tmp_path / "taken")


def test_what_changes_between_the_list_and_the_copy_is_refused(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_then_it_grows(folder: int) -> object:
        found = list_files(folder)
        (export / "README.md").write_text("# another card\n")
        return found

    monkeypatch.setattr("workers.supervision.exported_files.list_files", and_then_it_grows)
    assert "'README.md' was changed" in refusal(export, tmp_path / "taken")


def test_a_search_in_a_thousand_layers_can_be_reported(export: Path, tmp_path: Path) -> None:
    layers = list(range(1024))
    trials = [Trial(steps=2**rung, distance=0.5, score=0.5) for rung in range(4)]
    candidates = [Candidate(dropped=layers, strategies=["top"], trials=trials) for _ in range(12)]
    brackets = [Bracket(drop=drop, rows=9, baseline_score=None, candidates=candidates, steps=9) for drop in range(12)]
    curve = [
        CurvePoint(drop=drop, kept=layers if drop < 12 else None, dropped=None, parameters=1, bytes=4)
        for drop in layers
    ]  # fmt: skip
    search = Search(
        objective=Objective(min_retention=0.9), chosen=1, curve=curve, front=layers, brackets=brackets,
        steps=9, spent_steps=9,
    )  # fmt: skip
    whole = report().model_copy(update={"search": search})
    (export / "report.json").write_text(whole.model_dump_json(indent=2), encoding="utf-8")
    assert "report.json" in taken(export, tmp_path / "taken")


COSTLY: dict[str, tuple[str, str]] = {
    "long": ('{"warnings":[' + ",".join(["0"] * 10**6) + "]}", "values or more"),
    "of objects": ('{"reused":[' + ",".join(["{}"] * 10**5) + "]}", "more than 20000 objects"),
    "wrong all over": (
        '{"before":{"scores":{"by_seed":{' + ",".join(f'"x{at}":"y"' for at in range(10**5)) + "}}}}",
        "values in it are wrong",
    ),
    "deep": ('{"search":' + "[" * 10**5 + "]" * 10**5 + "}", "deep"),
    "half a character": (r'{"verdict":"\ud800"}', "half a character"),
}


@pytest.mark.parametrize("what", COSTLY)
def test_no_report_costs_more_than_a_good_one_could(export: Path, tmp_path: Path, what: str) -> None:
    body, why = COSTLY[what]
    (export / "report.json").write_text(body)
    tracemalloc.start()
    try:
        said = refusal(export, tmp_path / "taken")
        assert tracemalloc.get_traced_memory()[1] < 128 * 2**20
    finally:
        tracemalloc.stop()
    assert "report.json" in said
    assert why in said
