"""Uploads with gateways as processes of their own: curl at the door, a kill in the midst, two gateways on one store."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import Engine, select, update

from store.artifacts import ArtifactStore
from store.columns import later
from store.database import open_engine
from store.upload_tables import uploads as rows
from store.uploads import PART_BYTES
from tests.support.gateway_process import gateway_process, running_gateway
from tests.support.migrated_database import migrated_sqlite
from tests.support.processes import eventually
from tests.support.uploading import CSV, announce, form, put, sha256

MIB = 2**20
#: Of a large upload, in bytes; and what it may take of memory beyond a small one.
LARGE, ROOM = 600 * MIB, 100 * MIB

BLOCK = b"a row that is learnt from, of some words,1\n" * 20_000

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def address_of(port: int) -> str:
    return f"http://127.0.0.1:{port}"


@contextmanager
def client_of(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address_of(port), trust_env=False, timeout=120) as client:
        yield client


@pytest.fixture
def shared(tmp_path: Path) -> dict[str, object]:
    """Settings of gateways on one database and one store."""
    database = migrated_sqlite(f"sqlite:///{tmp_path}/shared.db")
    return {"database_url": database, "artifacts_url": f"file://{tmp_path}/shared"}


@pytest.fixture
def own(tmp_path: Path) -> dict[str, object]:
    """Settings of one gateway."""
    return {"database_url": migrated_sqlite(f"sqlite:///{tmp_path}/layercut.db")}


@pytest.fixture
def engine(shared: dict[str, object]) -> Iterator[Engine]:
    engine = open_engine(str(shared["database_url"]))
    yield engine
    engine.dispose()


def curl(*words: str, folder: Path) -> str:
    command = ["curl", "-sS", "--noproxy", "*", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60).stdout.decode()


@needs_curl
def test_curl_from_a_laptop_and_its_resume(tmp_path: Path, own: dict[str, object]) -> None:
    (tmp_path / "reviews.csv").write_bytes(CSV)
    with gateway_process(tmp_path, **own) as port:
        datasets = f"{address_of(port)}/v1/datasets"
        made = curl("-F", "file=@reviews.csv", datasets, folder=tmp_path)
        assert '"status":"ready"' in made
        begun = curl(
            "-H", "Content-Type: application/json", "-d", f'{{"files": [{{"name": "a.csv", "bytes": {len(CSV)}}}]}}',
            datasets, folder=tmp_path,
        )  # fmt: skip
        file = f"{datasets}/{re.findall('upl_[a-z0-9]{24}', begun)[0]}/files/a.csv"
        curl("-X", "PUT", "-H", f"Content-Range: bytes 0-19/{len(CSV)}", "-d", CSV[:20].decode(), file, folder=tmp_path)
        assert re.search("upload-offset: 20", curl("-I", file, folder=tmp_path))
        curl("-C", "20", "-T", "reviews.csv", file, folder=tmp_path)
        done = curl("-X", "POST", f"{file.rpartition('/files/')[0]}/complete", folder=tmp_path)
        assert f'"sha256":"{sha256(CSV)}"' in done
        assert '"status":"ready"' in done


@pytest.mark.slow
def test_a_gateway_that_is_killed_in_the_midst_of_a_part_is_followed_by_another(
    tmp_path: Path, shared: dict[str, object]
) -> None:
    content = (BLOCK * 40)[: 3 * PART_BYTES + 12345]
    with running_gateway(tmp_path, **shared) as (port, process), client_of(port) as client:
        address = f"/v1/datasets/{announce(client, {'a.txt': content})}"
        wire = socket.create_connection(("127.0.0.1", port))
        head = f"PUT {address}/files/a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n\r\n"
        wire.sendall(head.encode() + content[: 2 * PART_BYTES + 5])
        eventually(lambda: client.head(f"{address}/files/a.txt").headers["Upload-Offset"] != "0")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        wire.close()
    with gateway_process(tmp_path, **shared) as port, client_of(port) as client:
        kept = int(client.head(f"{address}/files/a.txt").headers["Upload-Offset"])
        assert PART_BYTES <= kept <= 2 * PART_BYTES + 2 * MIB
        assert put(client, f"{address}/files/a.txt", content, kept).status_code == 200
        done = client.post(f"{address}/complete").json()
        assert (done["status"], done["sha256"]) == ("ready", sha256(content))


@pytest.mark.slow
def test_a_gateway_that_is_killed_in_the_midst_of_completing_is_followed_by_another(
    tmp_path: Path, shared: dict[str, object], engine: Engine
) -> None:
    content = (BLOCK * 200)[: 20 * PART_BYTES]
    with running_gateway(tmp_path, **shared) as (port, process), client_of(port) as client:
        address = f"/v1/datasets/{announce(client, {'a.txt': content})}"
        put(client, f"{address}/files/a.txt", content)
        completing = threading.Thread(target=_post, args=(f"{address_of(port)}{address}/complete",))
        completing.start()
        eventually(lambda: _holder(engine))
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        completing.join(30)
    assert _holder(engine), "it was killed before it was done"
    with gateway_process(tmp_path, **shared) as port, client_of(port) as client:
        assert client.get(address).json()["status"] == "uploading"
        with engine.begin() as connection:  # as half a minute would
            connection.execute(update(rows).values(held_until=later(-1)))
        done = client.post(f"{address}/complete").json()
        assert (done["status"], done["sha256"]) == ("ready", sha256(content))
        assert client.post(f"{address}/complete").json() == done
    # What the dead one has half written goes as that of any other does.
    ArtifactStore(str(shared["artifacts_url"])).sweep_unfinished(0)
    left = tmp_path / "shared" / "uploads" / address.rpartition("/")[2]
    assert sorted(path.name for path in left.rglob("*") if path.is_file()) == ["a.txt", "manifest.json"]


@pytest.mark.slow
def test_a_form_whose_gateway_is_killed_is_swept(tmp_path: Path, shared: dict[str, object], engine: Engine) -> None:
    with running_gateway(tmp_path, **shared) as (port, process), client_of(port) as client:
        wire = socket.create_connection(("127.0.0.1", port))
        head = (
            b"POST /v1/datasets HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 100000000\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        )
        wire.sendall(head + BLOCK * 25)
        eventually(lambda: client.get("/v1/datasets").json()["data"])
        left = tmp_path / "shared" / "uploads"
        eventually(lambda: [path for path in left.rglob("*") if path.is_file()])
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        wire.close()
    with engine.begin() as connection:  # as half a minute would
        connection.execute(update(rows).values(held_until=later(-1), expires_at=later(-1)))
    with (
        gateway_process(tmp_path, **shared, reap_seconds=0.2, sweep_after_seconds=1) as port,
        client_of(port) as client,
    ):
        eventually(lambda: not client.get("/v1/datasets").json()["data"])
        eventually(lambda: not [path for path in left.rglob("*") if path.is_file()])


@pytest.mark.slow
def test_two_gateways_take_the_parts_of_one_file_in_turn(tmp_path: Path, shared: dict[str, object]) -> None:
    content = (BLOCK * 20)[: PART_BYTES + 999]
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with ExitStack() as stack:
        ports = [stack.enter_context(gateway_process(folder, **shared)) for folder in folders]
        with client_of(ports[0]) as first, client_of(ports[1]) as second:
            address = f"/v1/datasets/{announce(first, {'a.txt': content})}"
            file, at = f"{address}/files/a.txt", 0
            for turn, end in enumerate((1, 1000, PART_BYTES, len(content))):
                answer = put((first, second)[turn % 2], file, content, at, end)
                at = int(answer.headers["Upload-Offset"])
                assert (answer.status_code, at) == (200, end)
            found: list[dict[str, Any]] = []
            both = [
                threading.Thread(target=lambda one=one: found.append(one.post(f"{address}/complete").json()))  # type: ignore[misc]
                for one in (first, second)
            ]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join(60)
            assert found[0] == found[1]
            assert (found[0]["status"], found[0]["sha256"]) == ("ready", sha256(content))


@pytest.mark.slow
def test_of_two_that_send_the_same_part_to_two_gateways_one_wins(tmp_path: Path, shared: dict[str, object]) -> None:
    content = (BLOCK * 30)[: 2 * PART_BYTES]
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    with gateway_process(folders[0], **shared) as one, gateway_process(folders[1], **shared) as two:
        with client_of(one) as client:
            address = f"/v1/datasets/{announce(client, {'a.txt': content})}"
        codes: list[int] = []
        barrier = threading.Barrier(2)

        def send(port: int) -> None:
            with client_of(port) as client:
                barrier.wait()
                codes.append(put(client, f"{address}/files/a.txt", content).status_code)

        both = [threading.Thread(target=send, args=(port,)) for port in (one, two)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(60)
        assert sorted(codes) == [200, 409]
        with client_of(two) as client:
            assert client.post(f"{address}/complete").json()["sha256"] == sha256(content)


@pytest.mark.slow
def test_uploads_lie_in_an_object_store_with_signatures(tmp_path: Path, own: dict[str, object], s3_url: str) -> None:
    content = (BLOCK * 30)[: 2 * PART_BYTES + 77]
    with gateway_process(tmp_path, **own, artifacts_url=s3_url) as port, client_of(port) as client:
        made = client.post("/v1/datasets", files=form({"a.txt": content, "train.csv": CSV})).json()
        assert made["status"] == "ready", made
        assert {file["name"]: file["sha256"] for file in made["files"]}["a.txt"] == sha256(content)
        assert (made["inspection"]["file"], made["inspection"]["rows"]) == ("train.csv", 4)
        address = f"/v1/datasets/{announce(client, {'b.csv': CSV, 'b.txt': content})}"
        put(client, f"{address}/files/b.txt", content, 0, PART_BYTES + 1)
        put(client, f"{address}/files/b.txt", content, PART_BYTES + 1)
        client.put(f"{address}/files/b.csv", content=CSV)
        done = client.post(f"{address}/complete").json()
        assert done["status"] == "ready", done
        assert {file["name"]: file["sha256"] for file in done["files"]} == {
            "b.csv": sha256(CSV), "b.txt": sha256(content),
        }  # fmt: skip
        refused = client.post("/v1/datasets", files=form({"c.txt": content, "e.csv": b""}))
        assert refused.json()["code"] == "dataset_invalid"
        assert client.delete(address).status_code == 204
    # No byte of them ever lies on the gateway's own disk.
    assert sum(path.stat().st_size for path in (tmp_path / "data").rglob("*") if path.is_file()) < 5 * MIB


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("kind", ["folder", "object store"])
def test_a_large_upload_takes_no_more_memory_than_a_small_one(
    tmp_path: Path, own: dict[str, object], request: pytest.FixtureRequest, kind: str
) -> None:
    """As a form, in parts, and put together; of 600 MB."""
    stored = {"artifacts_url": request.getfixturevalue("s3_url")} if kind == "object store" else {}
    with running_gateway(tmp_path, **own, **stored) as (port, process), client_of(port) as client:
        assert client.post("/v1/datasets", files=form({"small.csv": CSV})).status_code == 201
        before = _peak(process.pid)
        answer = client.post(
            "/v1/datasets", content=_form(), headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        made = answer.json()
        assert made["status"] == "ready", made
        digest = hashlib.sha256()
        for block in _rows():
            digest.update(block)
        assert made["sha256"] == digest.hexdigest()
        as_form = _peak(process.pid)
        size = made["bytes"]
        listed = {"files": [{"name": "large.csv", "bytes": size, "sha256": digest.hexdigest()}]}
        address = f"/v1/datasets/{client.post('/v1/datasets', json=listed).json()['id']}"
        sent = {"Content-Length": str(size)}
        assert client.put(f"{address}/files/large.csv", content=_rows(), headers=sent).status_code == 200
        done = client.post(f"{address}/complete", timeout=300).json()
        assert (done["status"], done["inspection"]["complete"]) == ("ready", False)
        assert abs(done["inspection"]["rows"] - LARGE // len(BLOCK) * 20_000) < 1000
        in_parts = _peak(process.pid)
        print(f"{kind}: {before >> 20} MB, then {as_form >> 20} MB as a form, {in_parts >> 20} MB in parts")
        assert as_form - before < ROOM
        assert in_parts - before < ROOM
        assert psutil.Process(process.pid).is_running()


def _rows() -> Iterator[bytes]:
    yield b"text,label\n"
    for _ in range(LARGE // len(BLOCK)):
        yield BLOCK.replace(b", of", b" of")


def _form() -> Iterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="large.csv"\r\n\r\n'
    yield from _rows()
    yield b"\r\n--x--\r\n"


def _peak(pid: int) -> int:
    """The most memory that the process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def _post(address: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(address, trust_env=False, timeout=60)


def _holder(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return connection.scalar(select(rows.c.token))
