"""A download that is cut, resumed, refused: it is whole and right, or not there; nothing is written elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from layercut.client import Client, ClientError, DamagedFile, InvalidAnswer, LayercutApiError
from tests.support.cut_proxy import CutProxy
from tests.support.gateway_worker import CARD, FILES, claim, succeed
from tests.support.live_gateway import LiveGateway
from tests.support.played_service import Heard, Said, played_service, said_json

WEIGHTS = bytes(range(256)) * 20_000
POOLING = {"1_Pooling/config.json": b"{}", "model.safetensors": WEIGHTS, "empty.txt": b""}


def delivered(gateway: LiveGateway, folder: Path, **files: bytes) -> str:
    """The id of a job whose files are those of ``FILES``, with ``files`` over them."""
    with Client(gateway.url) as client:
        job = client.submit(gateway.body(priority=100))
    succeed(gateway.state, claim(gateway.state), folder, **files)
    return job.id


def there(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sums(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(body).hexdigest()}  {name}\n" for name, body in files.items()).encode()


def test_report_card_and_files(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    job = delivered(gateway, tmp_path)
    assert client.report(job).layers.total
    assert client.card(job) == CARD
    assert {file.name: file.bytes for file in client.files(job)} == {name: len(body) for name, body in FILES.items()}


def test_the_folder_is_there_when_all_of_it_is(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    files = {**FILES, **POOLING}
    job = delivered(gateway, tmp_path / "made", **POOLING, SHA256SUMS=sums(files))
    seen: list[tuple[str, int, int]] = []
    to = tmp_path / "out"

    def note(name: str, done: int, total: int) -> None:
        assert not to.exists()
        seen.append((name, done, total))

    assert client.download(job, to, on_progress=note) == to
    assert there(to) == {**files, "SHA256SUMS": sums(files)}
    assert {name for name, done, total in seen if done == total} == {*files, "SHA256SUMS"} - {"empty.txt"}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    # Once more: all of it is there, and right.
    assert client.download(job, to) == to


def test_it_goes_on_over_connections_that_break(
    far: Client, proxy: CutProxy, gateway: LiveGateway, tmp_path: Path
) -> None:
    job = delivered(gateway, tmp_path / "made", **POOLING)
    far.limits()
    proxy.cut_after(100, 2_000_000, 300_000, 1_500_000, 50)
    proxy.cut()
    assert there(far.download(job, tmp_path / "out")) == {**FILES, **POOLING}
    assert proxy.connections >= 6


def test_what_was_left_is_not_fetched_again(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    job = delivered(gateway, tmp_path / "made", **POOLING)
    to = tmp_path / "out"
    fetched: list[int] = []

    def stop(name: str, done: int, total: int) -> None:
        if name == "model.safetensors" and done >= 2**20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.download(job, to, on_progress=stop)
    assert not to.exists()
    client.download(job, to, on_progress=lambda name, done, _: fetched.append(done) if "model" in name else None)
    assert there(to)["model.safetensors"] == WEIGHTS
    assert min(fetched) > 2**20


def test_what_was_left_of_another_file_is_thrown_away(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    job = delivered(gateway, tmp_path / "made", **POOLING)
    beside = tmp_path / ".out.part"
    (beside / "old").mkdir(parents=True)
    (beside / "old" / "vocab.txt").write_bytes(b"of another job")
    (beside / "model.safetensors.part").write_bytes(b"x" * 1000)
    (beside / "README.md.part").write_bytes(b"x" * 1000)
    (beside / "report.json").write_bytes(b"{}")
    assert there(client.download(job, tmp_path / "out")) == {**FILES, **POOLING}


def test_a_folder_with_other_files_is_left_alone(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    job = delivered(gateway, tmp_path / "made")
    mine = tmp_path / "mine"
    mine.mkdir()
    assert client.download(job, mine) == mine, "an empty one is as good as none"
    (mine / "README.md").write_text("of my own")
    with pytest.raises(ClientError, match="is not empty"):
        client.download(job, mine)
    assert (mine / "README.md").read_text() == "of my own"
    (tmp_path / "file").touch()
    with pytest.raises(ClientError, match="is no folder"):
        client.download(job, tmp_path / "file")


def test_a_job_that_has_delivered_nothing(client: Client, gateway: LiveGateway, tmp_path: Path) -> None:
    job = client.submit(gateway.body())
    with pytest.raises(LayercutApiError, match="result_not_ready"):
        client.download(job.id, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def listed(*files: tuple[str, bytes], sha256: str = "", size: int | None = None) -> Callable[[Heard], Said]:
    """A service that lists those files and sends them, each with a hash and a size that may not be its own."""
    bodies = dict(files)

    def answer(heard: Heard) -> Said:
        name = heard.path.partition("/files/")[2]
        if name:
            return Said(200, bodies.get(name, b"x"), {"Content-Type": "application/octet-stream"})
        rows = [
            {
                "name": name,
                "bytes": len(body) if size is None else size,
                "sha256": sha256 or hashlib.sha256(body).hexdigest(),
                "media_type": "text/plain",
                "url": "http://elsewhere.example/",
            }
            for name, body in files
        ]
        return said_json({"data": rows})

    return answer


@pytest.mark.parametrize(
    "name",
    [
        "../outside", "a/../../outside", "/etc/outside", "a//b", "", ".", "..", "a/.", "a\\..\\b", "C:/outside", "a\nb",
        "a\0b", "a/", "~/x\x1b[2J", "x.part", " ", "a/ /b", "con.", "x" * 300, "a:stream",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with played_service(listed(("config.json", b"{}"), (name, b"evil"))) as service, Client(service.url) as client:
        with pytest.raises(InvalidAnswer, match="the service lists a file called"):
            client.download("job_1", home / "out")
        assert [heard.path for heard in service.heard] == ["/v1/jobs/job_1/files"]
    assert [path for path in tmp_path.rglob("*") if path != home] == []


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    said = listed(("config.json", b"{}"), ("Config.JSON", b"[]"))
    with (
        played_service(said) as service,
        Client(service.url) as client,
        pytest.raises(InvalidAnswer, match="two files"),
    ):
        client.download("job_1", tmp_path / "out")


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (listed(("a", b"abc"), sha256=64 * "0"), "its sha256 is not 000"),
        (listed(("a", b"abcdef"), size=3), "more bytes come than the 3 that it has"),
        (
            listed(("a", b"abc"), ("SHA256SUMS", f"{64 * '0'}  a\n".encode())),
            "lists 'a', which did not come as it says",
        ),
        (listed(("a", b"abc"), ("SHA256SUMS", b"what is this")), "did not come as it says"),
    ],
)
def test_a_file_that_is_not_what_was_announced_is_not_delivered(
    service: Callable[[Heard], Said], said: str, tmp_path: Path
) -> None:
    with played_service(service) as played, Client(played.url) as client, pytest.raises(DamagedFile, match=said):
        client.download("job_1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bytes_of_another_place_than_asked_for_are_refused(tmp_path: Path) -> None:
    def answer(heard: Heard) -> Said:
        if "range" not in heard.headers:
            return listed(("a", bytes(2000)))(heard)
        return Said(206, bytes(10), {"Content-Range": "bytes 0-9/2000"})

    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "a.part").write_bytes(bytes(100))
    with (
        played_service(answer) as service,
        Client(service.url) as client,
        pytest.raises(InvalidAnswer, match="bytes from 100 on were asked for"),
    ):
        client.download("job_1", tmp_path / "out")
