"""Archives of models: unpacked member by member, and refused where they lead elsewhere, hold no plain files, swell."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterable
from typing import BinaryIO

import pytest

from api_schemas.errors import LayercutError
from sources.uploads import archives
from sources.uploads.archives import Unpacking
from sources.uploads.models import is_read

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 300, "1_Pooling/config.json": b"{1}"}


def unpacked(content: bytes, kind: str, wanted: Callable[[str], bool] = is_read) -> tuple[dict[str, bytes], list[str]]:
    unpacking, source = Unpacking(wanted), io.BytesIO(content)
    members = unpacking.of_zip(source) if kind == "zip" else unpacking.of_tar(source, gzipped=kind == "tar.gz")
    return {member.name: b"".join(member.blocks) for member in members}, unpacking.left_out.names


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as target:
        for member, content in members:
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zipped(files: dict[str, bytes], **changes: object) -> bytes:
    """``changes`` are attributes of each member."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            for attribute, value in changes.items():
                setattr(member, attribute, value)
            target.writestr(member, content)
    return packed.getvalue()


PACK: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "tar": lambda files: tar(*((info(name), content) for name, content in files.items())),
    "tar.gz": lambda files: gzip.compress(PACK["tar"](files)),
    "zip": zipped,
}


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("folder", ["", "bert-mini/", "./", "./bert-mini/"])
def test_the_files_of_a_model_come_out_without_the_folder_that_they_lie_in(kind: str, folder: str) -> None:
    if kind == "zip":
        folder = folder.removeprefix("./")
    files = {folder + name: content for name, content in FILES.items()}
    assert unpacked(PACK[kind](files), kind) == (FILES, [])


@pytest.mark.parametrize("kind", PACK)
def test_what_is_not_read_of_a_model_is_left_out_and_named(kind: str) -> None:
    others = {
        "m/pytorch_model.bin": b"\x80",
        "m/modeling_x.py": b"import os",
        "__MACOSX/m/._config.json": b"",
        "x": b"",
    }
    files = {"__MACOSX/._m": b"", **{f"m/{name}": content for name, content in FILES.items()}, **others}
    found, left_out = unpacked(PACK[kind](files), kind)
    assert found == FILES
    assert set(left_out) == {"__MACOSX/._m", *others}


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize(
    "name", ["../config.json", "/etc/config.json", "m/../../config.json", "m//config.json", "a\\b"]
)
def test_one_that_climbs_out_is_refused(kind: str, name: str) -> None:
    with refused("leads to another folder|is none of a name"):
        unpacked(PACK[kind]({"config.json": b"{}", name: b"{}"}), kind)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_link_or_a_device_in_a_tar_is_refused(kind: bytes) -> None:
    with refused("'model.safetensors' is a link, a device"):
        unpacked(tar((info("config.json"), b"{}"), (info("model.safetensors", kind, "/etc/passwd"), b"")), "tar")


def test_a_link_in_a_zip_is_refused() -> None:
    with refused("'config.json' is a link or a device"):
        unpacked(zipped({"config.json": b"/etc/passwd"}, external_attr=0o120777 << 16), "zip")


@pytest.mark.parametrize("kind", PACK)
def test_a_file_that_is_there_twice_is_refused(kind: str) -> None:
    content = PACK[kind]({"config.json": b"{}", "CONFIG.JSON": b"{}"})
    with refused("is in it twice"):
        unpacked(content, kind, wanted=lambda _: True)


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_one_that_swells_is_refused_before_it_has(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LEAST", 2**20)
    content, count = PACK[kind]({name: bytes(3 * archives.LEAST)}), 0
    assert len(content) * archives.MAX_TIMES < archives.LEAST
    unpacking, source = Unpacking(is_read), io.BytesIO(content)
    with refused("it swells"):
        for member in unpacking.of_zip(source) if kind == "zip" else unpacking.of_tar(source, gzipped=True):
            for block in member.blocks:
                count += len(block)
    assert count <= archives.LEAST


def test_whether_there_is_room_is_asked_of_what_is_kept_alone_and_before_any_of_it_comes() -> None:
    asked: list[int] = []

    def refuse(size: int) -> None:
        asked.append(size)
        raise LayercutError("quota_exceeded", "no room")

    content = zipped({"pytorch_model.bin": bytes(5000), "config.json": b"{}", "model.safetensors": bytes(3000)})
    with pytest.raises(LayercutError, match="no room"):
        next(Unpacking(is_read, refuse).of_zip(io.BytesIO(content)))
    assert asked == [3002]


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LICENSE-x#1", "it ends with # and a number"),
        ("manifest.json", "that name is taken"),
        (f"LICENSE-{'x' * 240}", "a name of at most 240 bytes"),
        (f"LICENSE-{'x' * 300}", "has more than 255 bytes"),
        (f"m/{'é' * 130}.bin", "has more than 255 bytes"),
    ],
)
def test_a_name_that_no_store_takes_is_refused(kind: str, name: str, words: str) -> None:
    with refused(words):
        unpacked(PACK[kind]({"config.json": b"{}", name: b"x"}), kind, wanted=lambda name: not name.endswith(".bin"))


def test_a_zip_that_says_another_size_than_it_has_is_refused() -> None:
    content = bytearray(zipped({"config.json": b"{}"}))
    size = content.index(b"PK\x01\x02") + 24
    content[size : size + 4] = (1000).to_bytes(4, "little")
    with refused("'config.json' has 1000 bytes, and there are 2"):
        unpacked(bytes(content), "zip")


def test_of_thousands_that_are_left_out_the_first_are_named_and_a_pickle_among_them() -> None:
    names = [f"{number:04}-{'x' * 200}.py" for number in range(300)]
    unpacking = Unpacking(is_read)
    content = tar(*((info(name), b"") for name in (*names, "pytorch_model.bin")))
    assert list(unpacking.of_tar(io.BytesIO(content), gzipped=False)) == []
    left_out = unpacking.left_out
    assert (left_out.count, len(left_out.names), left_out.names[-1]) == (301, 10, "pytorch_model.bin")
    assert left_out.names[0].startswith("0000-xxx")
    assert max(map(len, left_out.names)) <= 101


def with_headers(kind: bytes, records: dict[str, str]) -> bytes:
    """A member of a tar that has nothing but headers, for the next one or for all."""
    body = b"".join(_record(key, value) for key, value in records.items())
    header = info("headers", kind)
    header.size = len(body)
    return header.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


def _record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while length != len(str(length)) + len(rest):
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def peak_of(parts: Iterable[bytes]) -> int:
    """Bytes of memory that unpacking a tar of ``parts`` takes at most."""
    packed = io.BytesIO(gzip.compress(b"".join(parts), 1))
    tracemalloc.start()
    try:
        for member in Unpacking(is_read).of_tar(packed, gzipped=True):
            assert b"".join(member.blocks) == b""
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_memory_of_many_members_with_long_headers_is_that_of_one() -> None:
    noise = random.Random(0).randbytes(75_000).hex()
    members = [
        with_headers(tarfile.XHDTYPE, {"x": noise}) + info(f"file{number}.py").tobuf(tarfile.USTAR_FORMAT)
        for number in range(60)
    ]
    assert peak_of([*members[:3], bytes(1024)]) + 2 * 2**20 > peak_of([*members, bytes(1024)])


def test_headers_for_all_members_that_become_more_and_more_are_refused() -> None:
    headers = [
        with_headers(tarfile.XGLTYPE, {f"x{number}": "y" * 1000}) + info(f"file{number}.py").tobuf()
        for number in range(200)
    ]
    assert unpacked(b"".join([*headers[:20], bytes(1024)]), "tar")[0] == {}
    with refused("headers, or 262144 characters of them, for all members"):
        unpacked(b"".join([*headers, bytes(1024)]), "tar")


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_one_that_is_cut_off_is_refused(kind: str, share: float) -> None:
    content = PACK[kind](FILES)
    end = len(content.rstrip(b"\0")) if kind == "tar" else len(content)  # a tar ends in zeros
    with refused("is broken"):
        unpacked(content[: int(share * end)], kind)


@pytest.mark.parametrize("kind", PACK)
def test_one_with_a_broken_byte_is_refused(kind: str) -> None:
    content = bytearray(PACK[kind](FILES))
    # Of a tar there are checksums of its headers alone.
    place = content.index(b"model.safetensors") if kind == "tar" else len(content) // 2
    content[place] ^= 0x55
    with refused("is broken"):
        unpacked(bytes(content), kind)


def test_junk_between_two_members_is_not_taken_for_the_end() -> None:
    content = PACK["tar"](FILES)
    with refused("is broken, or cut off"):
        unpacked(content[:1024] + b"junk" * 256 + content[1024:], "tar")


def test_headers_cannot_ask_for_memory() -> None:
    """Python reads a long name, or a list of attributes, as a whole, however long its header says that it is."""
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        header = info("x", kind)
        header.size = 2**33
        with refused("the headers of one member have more than"):
            unpacked(header.tobuf(tarfile.GNU_FORMAT) + bytes(10**6), "tar")
    nested = info("x", tarfile.XHDTYPE)
    nested.size = 512
    with refused("the headers of one member have more than"):
        unpacked((nested.tobuf() + b"10 a=bcde\n".ljust(512, b"\0")) * 3000, "tar")


def test_a_file_with_holes_is_refused_however_long_their_list_is() -> None:
    member = info("model.safetensors")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    with refused("the headers of one member have more than"):
        unpacked(tar((member, b"999999999\n" + b"1\n" * 500_000)), "tar")
    with refused("a file with holes"):
        unpacked(tar((member, b"1\n0\n1\n".ljust(512, b"\0") + b"x")), "tar")


def test_a_zip_cannot_ask_for_memory() -> None:
    end = b"PK\x05\x06" + bytes(4) + (60_000).to_bytes(2, "little") * 2
    directory = (archives.MAX_DIRECTORY + 1).to_bytes(4, "little") + bytes(4) + bytes(2)
    with refused("its list of members has more than"):
        unpacked(bytes(archives.MAX_DIRECTORY + 100) + end + directory, "zip")


@pytest.mark.parametrize("kind", PACK)
def test_too_many_members_are_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    with refused("more than 20 members"):
        unpacked(PACK[kind]({f"file{number}": b"" for number in range(21)}), kind)


def test_what_may_take_gigabytes_to_unpack_is_refused() -> None:
    with refused("encrypted, or packed in a way that is not read"):
        unpacked(zipped({"config.json": b"{}"}, compress_type=zipfile.ZIP_LZMA), "zip")
    locked = bytearray(zipped({"config.json": b"{}"}))
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    with refused("encrypted"):
        unpacked(bytes(locked), "zip")


@pytest.mark.parametrize("kind", PACK)
def test_what_is_no_archive_is_refused(kind: str) -> None:
    for content in (b"", b"hello", bytes(20_000), b"hello" * 1000):
        if kind == "tar" and not content.strip(b"\0") and content:
            continue  # which is a tar without members
        with refused("is broken"):
            unpacked(content, kind)


class refused:
    def __init__(self, words: str) -> None:
        self._raises = pytest.raises(LayercutError, match=words)

    def __enter__(self) -> None:
        self._caught = self._raises.__enter__()

    def __exit__(self, *error: object) -> bool:
        passed = bool(self._raises.__exit__(*error))  # type: ignore[arg-type]
        if passed:
            assert self._caught.value.code == "archive_invalid"
        return passed


def test_a_source_is_read_no_further_than_its_members_are_asked_for() -> None:
    source: BinaryIO = io.BytesIO(PACK["tar"]({"config.json": b"{}", "model.safetensors": bytes(5 * 2**20)}))
    members = Unpacking(is_read).of_tar(source, gzipped=False)
    assert next(members).name == "config.json"
    assert source.tell() < 2**20
