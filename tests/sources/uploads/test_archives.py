"""Archives of models: unpacked member by member, and refused where they lead elsewhere, hold no plain files, swell."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from typing import BinaryIO

import pytest

from api_schemas.errors import LayercutError
from sources.uploads import archives
from sources.uploads.archives import Unpacking
from sources.uploads.models import is_read

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 300, "1_Pooling/config.json": b"{1}"}
GIB = 2**30


def unpacked(
    content: bytes, kind: str, most: int = GIB, wanted: Callable[[str], bool] = is_read
) -> tuple[dict[str, bytes], list[str]]:
    unpacking, source = Unpacking(wanted, most), io.BytesIO(content)
    members = unpacking.of_zip(source) if kind == "zip" else unpacking.of_tar(source, gzipped=kind == "tar.gz")
    return {member.name: b"".join(member.blocks) for member in members}, unpacking.left_out


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
def test_one_that_swells_is_refused_before_it_has(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LEAST", 2**20)
    content, count = PACK[kind]({"model.safetensors": bytes(3 * archives.LEAST)}), 0
    assert len(content) * archives.MAX_TIMES < archives.LEAST
    unpacking, source = Unpacking(is_read, GIB), io.BytesIO(content)
    with refused("it swells"):
        for member in unpacking.of_zip(source) if kind == "zip" else unpacking.of_tar(source, gzipped=True):
            for block in member.blocks:
                count += len(block)
    assert count <= archives.LEAST


@pytest.mark.parametrize("kind", PACK)
def test_one_with_more_than_may_be_stored_is_refused(kind: str) -> None:
    content = PACK[kind]({"model.safetensors": bytes(3000)})
    assert unpacked(content, kind, most=20_000)[0] == {"model.safetensors": bytes(3000)}
    with refused("more than the 2000 bytes that may be stored"):
        unpacked(content, kind, most=2000)


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
    members = Unpacking(is_read, GIB).of_tar(source, gzipped=False)
    assert next(members).name == "config.json"
    assert source.tell() < 2**20
