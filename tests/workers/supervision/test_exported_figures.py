"""Figures that a runner left, which may be anybody's: shapes and words pass, and nothing that runs or leads away."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from figures.jobs import CurveData
from tests.support.reports import report
from tests.support.tiny_models import tiny_model
from workers.export.card import make_card
from workers.export.figures import write_figures
from workers.supervision.exported_figures import fault_of
from workers.supervision.exported_files import check_exported, list_files, take_over
from workers.supervision.runner_folders import entered


def svg(inner: str, **attributes: str) -> bytes:
    told = "".join(f' {name.replace("_", ":")}="{value}"' for name, value in attributes.items())
    return f'<svg xmlns="http://www.w3.org/2000/svg"{told}>{inner}</svg>'.encode()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tiny_model("bert", tmp_path / "artifact", head="base")
    write_figures(report(), CurveData([], []), folder)
    (folder / "report.json").write_text(report().model_dump_json())
    (folder / "README.md").write_text(make_card(report()))
    return folder


def taken(export: Path, target: Path) -> list[str]:
    target.mkdir()
    with entered(export.parent, export.name) as theirs, entered(target) as ours:
        names = take_over(theirs, ours, 2**30, lambda: False)
    check_exported(target, names)
    return names


def test_ours_pass(export: Path, tmp_path: Path) -> None:
    assert {"figures/layers.svg", "figures/layers.png"} <= set(taken(export, tmp_path / "taken"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("layers.svg", svg("<script>alert(1)</script>")),
        ("layers.svg", svg('<foreignObject><p xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>')),
        ("layers.svg", svg('<a href="javascript:alert(1)"/>')),
        ("layers.svg", svg('<use xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="https://evil.example/x"/>')),
        ("layers.svg", svg("", onload="alert(1)")),
        ("layers.svg", svg("<style>@import 'https://evil.example'</style>")),
        ("layers.svg", svg('<path fill="url(https://evil.example/x)"/>')),
        ("layers.svg", b'<!DOCTYPE svg [<!ENTITY a "aaa">]>' + svg("<text>&a;</text>")),
        ("layers.svg", b"GIF89a"),
        ("layers.png", svg("")),
    ],
)
def test_others_are_refused(name: str, content: bytes, export: Path, tmp_path: Path) -> None:
    assert fault_of(name, content) is not None
    (export / "figures" / name).write_bytes(content)
    with pytest.raises(LayercutError, match=f"is not published: figures/{name}") as caught:
        taken(export, tmp_path / "taken")
    assert caught.value.code == "verification_failed"


def test_no_other_file_may_lie_there(export: Path) -> None:
    (export / "figures" / "x.svg").write_bytes(svg(""))
    with (
        entered(export.parent, export.name) as folder,
        pytest.raises(LayercutError, match="no file that a job delivers"),
    ):
        list_files(folder)


def test_one_that_is_too_large_is_refused(export: Path, tmp_path: Path) -> None:
    (export / "figures" / "layers.svg").write_bytes(svg("<text>" + "x" * 2**23 + "</text>"))
    with pytest.raises(LayercutError, match="at most 4194304 are published"):
        taken(export, tmp_path / "taken")
