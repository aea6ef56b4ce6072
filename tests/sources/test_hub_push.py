"""Pushes to a hub of our own, by the real client: what arrives, what is refused before, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from huggingface_hub import constants

from api_schemas.errors import LayercutError
from api_schemas.push import Pushed, PushSpec
from sources.hub_client import COMMIT
from sources.hub_push import PushStopped, check_push, push_folder
from sources.settings import SourceSettings
from tests.support.gateway_process import free_port
from tests.support.hub_server import Trick, says
from tests.support.hub_writes import SENDS_FILES, PushableHub, user

pytestmark = SENDS_FILES

WEIGHTS = bytes(range(256)) * 20
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "1_Pooling/config.json": b"{ }", "README.md": b"# A\n"}
REPO = "team/small-bert"
JOB = "job_1"


@pytest.fixture
def hub(push_hub: PushableHub) -> PushableHub:
    push_hub.users["hf_right"] = user("somebody", orgs={"team": "write", "club": "read"})
    return push_hub


@pytest.fixture
def settings() -> SourceSettings:
    return SourceSettings(push_owners=["Team", "somebody", "club", "others"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return written(tmp_path / "artifact", FILES)


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def push(folder: Path, settings: SourceSettings, stopped: Callable[[], bool] = lambda: False, **more: object) -> Pushed:
    return push_folder(PushSpec.model_validate({"repo": REPO, **more}), folder, settings, JOB, stopped)


def refusal(settings: SourceSettings, **more: object) -> LayercutError:
    with pytest.raises(LayercutError) as caught:
        check_push(PushSpec.model_validate({"repo": REPO, **more}), settings)
    return caught.value


def test_a_folder_becomes_one_commit_of_a_private_repository(
    hub: PushableHub, settings: SourceSettings, folder: Path
) -> None:
    pushed = push(folder, settings)
    assert hub.files(REPO) == FILES
    assert [(commit.repo, commit.branch, commit.added) for commit in hub.commits] == [(REPO, "main", sorted(FILES))]
    assert JOB in hub.commits[0].summary
    assert pushed.commit is not None
    assert COMMIT.fullmatch(pushed.commit)
    assert pushed.url == f"{hub.url}/{REPO}/commit/{pushed.commit}"
    assert hub._repos["models", REPO].private


def test_the_same_again_is_no_second_commit(hub: PushableHub, settings: SourceSettings, folder: Path) -> None:
    first, second = push(folder, settings), push(folder, settings)
    assert first == second
    assert len(hub.commits) == 1
    assert len(hub.objects) == 1


def test_only_what_changed_is_sent_and_weights_of_an_earlier_push_go(
    hub: PushableHub, settings: SourceSettings, folder: Path
) -> None:
    shard = "model-00001-of-00002.safetensors"
    hub.make(REPO, private=True, **{"notes.txt": b"theirs", shard: b"old", "onnx/model.onnx": b"old", **FILES})
    written(folder, {"config.json": b'{"new": 1}'})
    push(folder, settings)
    (commit,) = hub.commits
    assert commit.added == ["config.json"]
    assert sorted(commit.deleted) == [shard, "onnx/model.onnx"]
    assert hub.files(REPO) == {**FILES, "config.json": b'{"new": 1}', "notes.txt": b"theirs"}


def test_a_branch_of_any_name_is_made(hub: PushableHub, settings: SourceSettings, folder: Path) -> None:
    pushed = push(folder, settings, revision="try/1")
    assert hub.files(REPO, "try/1") == FILES
    assert hub.files(REPO) == {}
    assert pushed.revision == "try/1"
    assert push(folder, settings, revision="try/1") == pushed


def test_a_large_file_goes_in_parts(hub: PushableHub, settings: SourceSettings, folder: Path) -> None:
    hub.part_bytes = 1000
    push(folder, settings)
    assert hub.files(REPO) == FILES
    assert len([path for method, path in hub.requests if method == "PUT"]) == 6


def test_a_token_of_its_own_is_used_before_the_hubs(hub: PushableHub, settings: SourceSettings, folder: Path) -> None:
    hub.users = {"hf_own": user("somebody", orgs={"team": "write"})}
    with pytest.raises(LayercutError):
        push(folder, settings)
    push(folder, settings.model_copy(update={"push_token": "hf_own"}))
    assert hub.files(REPO) == FILES


def test_nothing_is_committed_once_nobody_waits(hub: PushableHub, settings: SourceSettings, folder: Path) -> None:
    with pytest.raises(PushStopped):
        push(folder, settings, stopped=lambda: bool(hub.objects))
    assert hub.commits == []


def test_who_may_push_may(hub: PushableHub, settings: SourceSettings) -> None:
    for repo in (REPO, "TEAM/x", "somebody/y"):
        check_push(PushSpec(repo=repo), settings)
    scope = {"entity": {"type": "org", "name": "team"}, "permissions": ["repo.content.read", "repo.write"]}
    hub.users["hf_right"] = user("somebody", "fineGrained", orgs={"team": "write"}, scoped=[scope])
    check_push(PushSpec(repo=REPO), settings)
    assert refusal(settings, repo="somebody/y").code == "push_not_allowed"


def test_an_owner_that_is_not_named_is_refused_without_a_question(hub: PushableHub) -> None:
    for owners, said in (([], "names none"), (["a", "b"], "names a, b")):
        error = refusal(SourceSettings(push_owners=owners))
        assert (error.code, error.param) == ("push_not_allowed", "/export/push_to/repo")
        assert f"LAYERCUT_PUSH_OWNERS {said}" in error.message
    assert hub.requests == []


def test_a_push_without_a_token_is_refused(
    hub: PushableHub, settings: SourceSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert "LAYERCUT_PUSH_TOKEN" in refusal(settings).message
    assert hub.requests == []


@pytest.mark.parametrize(
    ("known", "repo", "said"),
    [
        (None, REPO, "the hub lets the service's token push nothing to team/small-bert"),
        (user("somebody"), REPO, "no member of 'team'"),
        (user("somebody", "read", orgs={"team": "write"}), REPO, "may only read"),
        (user("somebody", orgs={"club": "read"}), "club/x", "may only read what 'club' has"),
        (user("somebody", "fineGrained", scoped=[]), "somebody/x", "no right to write to repositories of 'somebody'"),
    ],
)
def test_a_token_without_the_right_is_refused(
    hub: PushableHub, settings: SourceSettings, known: dict[str, object] | None, repo: str, said: str
) -> None:
    hub.users = {} if known is None else {"hf_right": known}
    error = refusal(settings, repo=repo)
    assert error.code == "push_not_allowed"
    assert said in error.message
    assert "hf_right" not in error.message


def test_what_is_private_does_not_go_to_a_public_repository(
    hub: PushableHub, settings: SourceSettings, folder: Path
) -> None:
    hub.make(REPO)
    assert refusal(settings).param == "/export/push_to/private"
    with pytest.raises(LayercutError, match="is public"):
        push(folder, settings)
    assert hub.commits == []
    check_push(PushSpec(repo=REPO, private=False), settings)
    push(folder, settings, private=False)
    assert hub.files(REPO) == FILES


@pytest.mark.parametrize("answer", [says(503), says(429), says(200, b"<html>"), says(200, b"[]"), says(200, b"{}")])
def test_a_hub_that_does_not_say_is_asked_again_when_there_is_something_to_push(
    hub: PushableHub, settings: SourceSettings, folder: Path, answer: Trick
) -> None:
    hub.trick("whoami", answer)
    check_push(PushSpec(repo=REPO), settings)
    assert ("GET", "/api/whoami-v2") in hub.requests
    hub.tricks.clear()
    push(folder, settings)
    assert hub.files(REPO) == FILES


def test_so_is_one_that_is_away(
    hub: PushableHub, settings: SourceSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://user:secret@127.0.0.1:{free_port()}")
    check_push(PushSpec(repo=REPO), settings)
    with pytest.raises(LayercutError, match="does not answer") as caught:
        push(folder, settings)
    assert caught.value.code == "hub_unavailable"
    assert "secret" not in caught.value.message


class Fault(NamedTuple):
    """Where the hub answers with what, and what is told of that."""

    where: str
    answer: Trick
    code: str
    said: str


FAULTS = (
    Fault("commit", says(500), "hub_unavailable", "come again"),
    Fault("commit", says(412), "hub_unavailable", "come again"),
    Fault("commit", says(403, X_Error_Message="no more"), "push_not_allowed", REPO),
    Fault("commit", says(422), "push_failed", "refuses"),
    Fault("batch", says(403), "push_not_allowed", REPO),
    Fault("/lfs/", says(403), "push_not_allowed", REPO),
    Fault("preupload", says(200, b"{}"), "push_failed", "the push failed"),
    Fault("create", says(200, b"x" * 70 * 2**20), "push_failed", "bytes"),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.where} {fault.code}")
def test_what_the_hub_does_wrong_is_told_apart(
    hub: PushableHub, settings: SourceSettings, folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its own tries
    hub.trick(fault.where, fault.answer)
    with pytest.raises(LayercutError) as caught:
        push(folder, settings)
    assert caught.value.code == fault.code
    assert fault.said in caught.value.message


def test_a_commit_without_a_hash_is_none(hub: PushableHub, settings: SourceSettings, folder: Path) -> None:
    answer = {"commitOid": "../x", "commitUrl": f"{hub.url}/{REPO}/commit/x"}
    hub.trick("commit", says(200, json.dumps(answer).encode()))
    with pytest.raises(LayercutError, match="names no commit") as caught:
        push(folder, settings)
    assert caught.value.code == "push_failed"


def test_it_is_not_sent_where_the_hub_must_not_lead(hub: PushableHub, settings: SourceSettings, folder: Path) -> None:
    hub.store_url = "http://169.254.169.254"
    with pytest.raises(LayercutError, match="an address inside") as caught:
        push(folder, settings)
    assert caught.value.code == "push_not_allowed"


def test_files_that_the_repository_leaves_out_are_missed(
    hub: PushableHub, settings: SourceSettings, folder: Path
) -> None:
    hub.ignored = {"config.json"}
    with pytest.raises(LayercutError, match=r"lacks config.json: does a .gitignore") as caught:
        push(folder, settings)
    assert caught.value.code == "push_failed"


def test_offline_is_no_hub_that_is_away(
    hub: PushableHub, settings: SourceSettings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LayercutError, match="HF_HUB_OFFLINE is set") as caught:
        push(folder, settings)
    assert caught.value.code == "push_failed"
