"""A hub that lies, or a repository of a stranger: nothing is written, read or waited for without bounds."""

from __future__ import annotations

import gzip
import itertools
import json
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, get_session

from api_schemas.errors import LayercutError
from api_schemas.requests import ModelRef
from sources import hub as hubs
from sources import hub_client
from sources.models import fetch, inspect
from sources.settings import SourceSettings
from tests.support.hub_server import HubServer, Trick, described, says, without_end
from tests.support.tiny_checkpoints import bert_files

ID = "evil/x"
REF = ModelRef(id=ID)
SETTINGS = SourceSettings(hub_timeout_seconds=5)
API = "/api/models"
WEIGHTS = "model.safetensors"


def cached_files() -> set[str]:
    """By their path in the client's cache, its own notes left out."""
    root = Path(constants.HF_HUB_CACHE)
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}
    return {name for name in found if not name.startswith((".locks", "CACHEDIR.TAG"))}


def unavailable(text: str) -> None:
    with pytest.raises(LayercutError, match=text) as caught:
        fetch(REF, SETTINGS)
    assert caught.value.code == "hub_unavailable"


def of_license(hub: HubServer, **headers: str) -> Trick:
    """An honest repository, whose LICENSE comes with these headers."""
    repo = hub.add(ID, {**bert_files(), "LICENSE": b"owned"})
    return says(200, b"owned", **{"ETag": '"abc"', "X_Repo_Commit": repo.commit, **headers})


@pytest.mark.parametrize("header", ["ETag", "X-Linked-Etag"])
@pytest.mark.parametrize("etag", ['"{up}/evil.pth"', "W/../{up}/evil.pth", "W..", '".."', ".x", "/tmp/x", "a" * 300])
def test_no_etag_names_a_file_outside_the_cache(hub: HubServer, tmp_path: Path, header: str, etag: str) -> None:
    value = etag.format(up="../" * 12 + str(tmp_path / "victim").strip("/"))
    (tmp_path / "victim").mkdir()
    hub.trick("LICENSE", of_license(hub, **{header: value}))
    unavailable(f"its answer has {header}: .*, which must be a hash")
    assert list((tmp_path / "victim").iterdir()) == []
    assert not [name for name in cached_files() if "config.json" in name], "what is not whole looks like no model"


@pytest.mark.parametrize("commit", ["../../../evil", "0" * 39, "main"])
@pytest.mark.parametrize("status", [200, 404])
def test_no_commit_of_an_answer_names_a_folder(hub: HubServer, commit: str, status: int) -> None:
    of_license(hub)
    hub.trick("LICENSE", says(status, b"owned", ETag='"abc"', X_Repo_Commit=commit, X_Error_Code="EntryNotFound"))
    unavailable("its answer has X-Repo-Commit: .*, which must be 40 hexadecimal digits")
    assert not [name for name in cached_files() if "LICENSE" in name or "no_exist" in name]


def test_an_etag_that_names_no_file_may_be_anything(hub: HubServer) -> None:
    """As the real hub's frameworks make them, of descriptions and of files that are not there."""
    repo = hub.add(ID, bert_files())
    listed = [{"rfilename": name, "size": len(content)} for name, content in repo.files.items()]
    odd = 'W/"1f-mY2V/LxuxB7KhsoOd+TlMTccuAQ"'
    hub.trick(API, described(listed, sha=repo.commit, headers={"ETag": odd}))
    assert fetch(REF, SETTINGS).is_dir()


def test_a_file_of_another_commit_is_not_taken(hub: HubServer) -> None:
    hub.trick("LICENSE", of_license(hub, X_Repo_Commit="1" * 40))
    unavailable("it sends LICENSE of the commit 1111")


def test_the_commit_is_asked_for_once(hub: HubServer) -> None:
    repo = hub.add(ID, bert_files())
    files = [{"rfilename": name, "size": len(content)} for name, content in repo.files.items()]
    answers = itertools.chain([repo.commit], itertools.repeat("../../../evil"))
    tricks = (described(files, sha=commit) for commit in answers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        next(tricks)(handler)

    hub.trick(API, answer)
    assert fetch(REF, SETTINGS).name == repo.commit
    assert [path for _, path in hub.requests if path.startswith("/api/")] == [f"/api/models/{ID}"]


def test_a_file_has_the_size_that_was_described(hub: HubServer) -> None:
    hub.trick("LICENSE", of_license(hub, Content_Length="4"))
    unavailable("it sends 4 bytes for LICENSE, which it says has 5")


def test_a_download_ends_where_the_file_should(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "MIN_ANSWER", 1000)
    of_license(hub)
    hub.trick("LICENSE", without_end(b"owned", b"x" * 1000, X_Repo_Commit=hub.add(ID, _with_license()).commit))
    with pytest.raises(LayercutError, match="the hub's answer has more than 1000 bytes"):
        fetch(REF, SETTINGS)


def _with_license() -> dict[str, bytes]:
    return {**bert_files(), "LICENSE": b"owned"}


def test_of_allowed_names_those_that_the_model_needs_are_fetched(hub: HubServer) -> None:
    shards = {f"model-{number}-of-x.safetensors": b"x" for number in range(20)}
    licenses = {f"LICENSE{number}": b"x" for number in range(20)} | {"LICENSE/deep/model.bin": b"x"}
    hub.add(ID, {**bert_files(), **shards, **licenses})
    folder = fetch(REF, SETTINGS)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names >= bert_files().keys()
    assert len(names - bert_files().keys()) == 5
    assert not names & {*shards, "LICENSE/deep/model.bin"}


def test_more_than_comes_without_xet_is_not_begun(hub: HubServer) -> None:
    files = bert_files()
    sizes = {name: len(content) for name, content in files.items()} | {WEIGHTS: 2**40}
    listed = [{"rfilename": name, "size": size} for name, size in sizes.items()]
    hub.trick(API, described(listed, sha=hub.add(ID, files).commit))
    with pytest.raises(LayercutError, match="more than comes without Xet") as caught:
        fetch(REF, SETTINGS)
    assert caught.value.code == "model_invalid"
    assert ("GET", WEIGHTS) not in {(method, path.rsplit("/", 1)[-1]) for method, path in hub.requests}


def test_more_weights_than_are_allowed_are_refused_by_their_list(hub: HubServer) -> None:
    files = bert_files()
    sizes = {name: len(content) for name, content in files.items()} | {WEIGHTS: 2**60}
    listed = [{"rfilename": name, "size": size} for name, size in sizes.items()]
    hub.trick(API, described(listed, sha=hub.add(ID, files).commit))
    ways: list[Callable[[], object]] = [lambda: inspect(REF, SETTINGS), lambda: fetch(REF, SETTINGS)]
    for ask in ways:
        with pytest.raises(LayercutError, match=f"have {2**60} bytes, more than the {2**41} that") as caught:
            ask()
        assert caught.value.code == "ceiling_passed"
    assert WEIGHTS not in {path.rsplit("/", 1)[-1] for _, path in hub.requests}


def test_xet_is_off_so_that_no_header_sends_a_library_elsewhere(hub: HubServer) -> None:
    route = {"X_Xet_Hash": "a" * 64, "X_Xet_Refresh_Route": f"{hub.url}/token"}
    hub.trick("LICENSE", of_license(hub, **route))
    hub.trick("token", says(200, X_Xet_Cas_Url=hub.url, X_Xet_Access_Token="a", X_Xet_Token_Expiration="9999999999"))
    assert (fetch(REF, SETTINGS) / "LICENSE").read_bytes() == b"owned"
    assert "/token" not in {path for _, path in hub.requests}


def header(text: str, data: bytes = bytes(4)) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + data


def shaped(shape: str) -> bytes:
    return header(f'{{"embeddings.word_embeddings.weight":{{"dtype":"F32","shape":{shape},"data_offsets":[0,4]}}}}')


def ranked(**row: Any) -> bytes:
    return header(json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **row}}))


HEADERS = {
    "a text times a number": shaped('["x",400000000]'),
    "a text times what no list can have": shaped(f'["x",{10**30}]'),
    "a list times a number": shaped("[[0],30000000]"),
    "numbers of 4000 digits": shaped(f"[{','.join(['9' * 4000] * 300)}]"),
    "a number of 5000 digits": shaped(f"[{'9' * 5000}]"),
    "2^63": shaped(f"[{2**63}]"),
    "a product of 2^63": shaped(f"[0,{2**62},{2**62}]").replace(b"[0,4]", b"[0,0]").replace(b"[0,", b"[2,", 1),
    "a thousand dimensions": shaped(f"[{','.join(['1'] * 1000)}]"),
    "true": shaped("[true]"),
    "a fraction": shaped("[1.5]"),
    "more numbers than bytes": shaped("[1000000]"),
    "bytes that are not there": header('{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "bytes that are nobody's": header('{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(8)),
    "a row that is a number": header('{"x":5}'),
    "offsets that are a number": ranked(data_offsets=5),
    "a dtype that is a list": ranked(dtype=["F32"]),
    "a dtype of a million letters": ranked(dtype="F" * 10**6),
    "metadata that is a list": header('{"__metadata__":[1]}'),
    "metadata of numbers": header('{"__metadata__":{"a":1}}'),
    "a list": header("[1]"),
    "deep": header("[" * 90_000),
    "many values": header('{"x":[' + "0," * 1_000_000 + "0]}"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_none_is_the_models_fault_on_the_hub_and_here(
    hub: HubServer, tmp_path: Path, name: str
) -> None:
    files = {**bert_files(), WEIGHTS: HEADERS[name]}
    hub.add(ID, files)
    (tmp_path / "here").mkdir()
    for file, content in files.items():
        (tmp_path / "here" / file).write_bytes(content)
    here = SourceSettings(model_roots=[tmp_path])
    for ref, settings in ((REF, SETTINGS), (ModelRef(id=str(tmp_path / "here")), here)):
        with pytest.raises(LayercutError, match=r"model\.safetensors") as caught:
            inspect(ref, settings)
        assert caught.value.code == "model_invalid"


FILES = [{"rfilename": "config.json", "size": 1}, {"rfilename": WEIGHTS, "size": 1}]
DESCRIPTIONS: dict[str, Trick] = {
    "a name that is a list": described([{"rfilename": ["a"], "size": 1}, *FILES]),
    "a name that is nothing": described([{"rfilename": None, "size": 1}, *FILES]),
    "a size that is a text": described([{"rfilename": WEIGHTS, "size": "10"}]),
    "a size that is a fraction": described([{"rfilename": WEIGHTS, "size": 1.5}]),
    "a size that is true": described([{"rfilename": WEIGHTS, "size": True}]),
    "a size below zero": described([{"rfilename": WEIGHTS, "size": -5}]),
    "a size beyond all": described([{"rfilename": WEIGHTS, "size": 10**30}]),
    "a size that is nowhere": described([{"rfilename": WEIGHTS}]),
    "files that are none": described([None, 5, "x"]),
    "no list of files": described(5),
    "a commit that climbs": described(FILES, sha="../../../evil"),
    "a commit with more behind it": described(FILES, sha="0" * 40 + "\n"),
    "a commit that is a number": described(FILES, sha=5),
    "no commit": described(FILES, sha=None),
    "a number of 5000 digits": says(200, b'{"sha": ' + b"9" * 5000 + b"}"),
    "deep": says(200, b'{"a":' + b"[" * 100_000),
    "a million lists": says(200, b'{"a":[' + b"[]," * 1_000_000 + b"[]]}"),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_that_is_none_is_refused(hub: HubServer, name: str) -> None:
    hub.trick(API, DESCRIPTIONS[name])
    with pytest.raises(LayercutError, match="the description of model 'evil/x'") as caught:
        inspect(REF, SETTINGS)
    assert (caught.value.code, caught.value.param) == ("model_invalid", "/model")
    assert len(caught.value.message) < 500


def test_what_a_hub_would_not_say_of_a_dataset_is_the_datasets_fault(hub: HubServer) -> None:
    hub.trick("/api/datasets", described([{"rfilename": 5, "size": 1}]))
    with pytest.raises(LayercutError) as caught:
        hubs.look("acme/table", None, hubs.Deadline(5), what="dataset")
    assert (caught.value.code, caught.value.param) == ("dataset_invalid", "/task")


@pytest.mark.parametrize("name", ["../../x.json", "/etc/x.json", "a/../x.json", "a//x.json", "a\\x.json", "a\0.json"])
def test_a_name_that_is_no_path_is_no_file(hub: HubServer, name: str) -> None:
    hub.trick(API, described([{"rfilename": name, "size": 1}, *FILES]))
    assert set(hubs.look(ID, None, hubs.Deadline(5)).files) == {"config.json", WEIGHTS}


def test_a_license_is_a_word(hub: HubServer) -> None:
    hub.trick(API, described(FILES, cardData={"license": "x" * 10**6}))
    assert hubs.look(ID, None, hubs.Deadline(5)).license is None


PLACES = [API, "/resolve/.*/config.json", "/resolve/.*/model.safetensors"]


@pytest.mark.parametrize("place", PLACES)
def test_a_packed_answer_is_not_unpacked(hub: HubServer, place: str) -> None:
    hub.add(ID, bert_files())
    packed = gzip.compress(b'{"id":"' + b" " * 2_000_000)
    hub.trick(place, says(200, packed, Content_Encoding="gzip"))
    facts = inspect(REF, SETTINGS)
    assert facts is None or facts.parameters is None


def test_answers_are_asked_for_as_they_are(hub: HubServer) -> None:
    asked: list[str] = []

    def remember(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers["Accept-Encoding"])
        says(404)(handler)

    hub.trick(API, remember)
    with pytest.raises(LayercutError):
        inspect(REF, SETTINGS)
    assert asked == ["identity"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", [200, 302, 500])
def test_no_answer_goes_on_for_ever(hub: HubServer, monkeypatch: pytest.MonkeyPatch, place: str, status: int) -> None:
    """Of a redirect or an error, whose body nobody wants, no more is read than of what was asked for."""
    monkeypatch.setattr(hub_client, "MAX_ANSWER", 200_000)
    hub.add(ID, bert_files())
    hub.trick(place, without_end(b'{"a": "', b"a" * 65536, status, **({"Location": "/x"} if status == 302 else {})))
    if status == 200:
        with pytest.raises(LayercutError, match=r"has more than|is truncated") as caught:
            inspect(REF, SETTINGS)
        assert caught.value.code == "model_invalid"
    else:
        facts = inspect(REF, SETTINGS)
        assert facts is None or facts.parameters is None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["head", "body"])
def test_an_answer_that_comes_byte_by_byte_is_not_waited_for(hub: HubServer, place: str, start: bytes) -> None:
    """Each byte comes in time, and all of them never do."""
    hub.add(ID, bert_files())
    left: list[str] = []

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        try:
            handler.wfile.write(start)
            for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 2000:
                handler.wfile.write(bytes([byte]))
                if hub.closing.wait(0.05):
                    return
        except OSError:
            left.append(handler.path)

    hub.trick(place, drip)
    facts = inspect(REF, SETTINGS, timeout=0.4)
    assert facts is None or facts.parameters is None
    assert not hub.closing.is_set()


def test_a_hub_does_not_tell_how_long_to_sleep(hub: HubServer) -> None:
    of_license(hub)
    hub.trick("LICENSE", says(429, b"", Retry_After="99999999"))
    unavailable("Retry-After: '99999999', which must be 300 seconds at most")
    hub.tricks.clear()
    hub.trick("LICENSE", says(429, b"", RateLimit='"a";r=0;t=1, "api";r=0;t=99999999'))
    unavailable("RateLimit: .*, which must be a pause as short")


def test_whatever_the_client_raises_is_an_error_of_ours(hub: HubServer) -> None:
    hub.trick("LICENSE", of_license(hub, Location="http://[::1", Link='<http://[>; rel="next"'))
    hub.trick("/resolve/.*/vocab.txt", says(302, b"", Location="http://[::1"))
    hub.add(ID, {**_with_license(), "vocab.txt": b"a"})
    with pytest.raises(LayercutError) as caught:
        fetch(REF, SETTINGS)
    assert caught.value.code == "hub_unavailable"


def test_the_client_goes_through_a_proxy_as_before(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = hub.add(ID, bert_files())
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    monkeypatch.setattr(constants, "ENDPOINT", "http://hub.invalid")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://hub.invalid/{repo_id}/resolve/{revision}/{filename}"
    )
    assert fetch(REF, SETTINGS).name == repo.commit


def test_the_client_is_guarded_from_the_start() -> None:
    assert constants.HF_HUB_DISABLE_XET
    assert hub_client._check_head in get_session().event_hooks["response"]
