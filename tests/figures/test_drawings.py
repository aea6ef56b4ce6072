"""What every figure is: small, plain, the same each time, safe whatever its words, and readable in any theme."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

import figures.library
from api_schemas.errors import LayercutError
from api_schemas.objectives import Objective
from api_schemas.reports import CurvePoint, Search
from figures import Drawing
from figures.jobs import CurveData, Line, LossPoint, Score, before_and_after, curves, layer_strip, search_curve
from figures.studies import pareto, score_by_layers
from figures.style import COLOURS, css, look
from tests.support.reports import report
from tests.support.study_rows import published, row

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert('x')</script>&\"$\\frac{1}{0}$\n\t\u202eevil\x00\x1b ]]>" * 20

ROWS = [
    row("top", 1, 78.0, front=True),
    row("top", 2, 75.0, front=True, published=published(76.0)),
    row("bottom", 1, 70.0),
    row("bottom", 2, 66.0),
]
LINE = Line("recovering", None, [[LossPoint(step, 1 / step) for step in range(1, 50)], [LossPoint(60, 0.01)]])
SEARCH = Search(
    objective=Objective(min_retention=0.98), chosen=2, front=[1, 2], brackets=[], steps=1, spent_steps=1,
    curve=[
        CurvePoint(drop=drop, kept=[], dropped=[], retention=1 - drop / 50, parameters=1, bytes=1, front=drop < 3)
        for drop in (1, 2, 3)
    ],
)  # fmt: skip

DRAWN: dict[str, Callable[[], Drawing]] = {
    "layers": lambda: layer_strip(12, [6, 7], [value / 12 for value in range(12)], measure="contribution"),
    "before_and_after": lambda: before_and_after(report()),
    "curves": lambda: curves(CurveData([LINE], [Score("f1", "before", 90.0), Score("f1", "after", 89.0)])),
    "search": lambda: search_curve(SEARCH),
    "score_by_layers": lambda: score_by_layers(ROWS, link=lambda one: f"/v1/jobs/{one.cells[0].job_id}"),
    "pareto": lambda: pareto(ROWS, link=lambda one: f"/v1/jobs/{one.cells[0].job_id}"),
    "panels": lambda: score_by_layers([*ROWS, *(one.model_copy(update={"task": "mrpc"}) for one in ROWS)]),
}


@pytest.fixture(params=DRAWN)
def drawing(request: pytest.FixtureRequest) -> Drawing:
    return DRAWN[request.param]()


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in Xml.fromstring(svg).iter(f"{SVG}text")]


def test_the_same_is_drawn_the_same(drawing: Drawing) -> None:
    assert drawing.svg() == drawing.svg()
    assert drawing.png() == drawing.png()


def test_a_figure_is_described_and_holds_nothing_from_elsewhere(drawing: Drawing) -> None:
    for theme in ("auto", "light", "dark"):
        svg = drawing.svg(theme)  # type: ignore[arg-type]
        root = Xml.fromstring(svg)
        assert (root.findtext(f"{SVG}title"), root.findtext(f"{SVG}desc")) == (drawing.title, drawing.alt)
        assert root.get("aria-labelledby", "").split() == [root[0].get("id"), root[1].get("id")]
        assert root.get("role") == ("group" if drawing.links else "img")
        assert not re.search(r"<!|<metadata|xlink|https?://(?!www\.w3\.org/2000/svg)|data:", svg)
        assert len(svg) < 60_000
        assert svg.count("prefers-color-scheme") == (theme == "auto")


def test_letters_are_letters_and_large_enough_to_read(drawing: Drawing) -> None:
    root = Xml.fromstring(drawing.svg())
    found = list(root.iter(f"{SVG}text"))
    assert found
    assert all(float(text.get("font-size", "0").removesuffix("px")) >= 11 for text in found)
    assert {text.get("font-family") for text in found} == {"system-ui, sans-serif"}
    assert root.get("width") == "720"


def test_inline_a_strict_policy_has_nothing_to_refuse(drawing: Drawing) -> None:
    svg = drawing.svg(inline=True)
    assert svg.startswith("<svg ")
    assert not re.search(r"\sstyle=|<style|<\?xml|\son\w+=", svg)
    used = {name for element in Xml.fromstring(svg).iter() for name in element.get("class", "").split()}
    known = set(re.findall(r"\.(fig[\w-]*)\{", css()))
    assert {name for name in used if not name.startswith("fig-of-")} <= known


def test_ids_are_of_the_one_figure(drawing: Drawing) -> None:
    first, second = (set(re.findall(r'\bid="([^"]+)"', drawing.svg(inline=True, prefix=name))) for name in ("a", "b"))
    assert first
    assert not first & second
    svg = drawing.svg(inline=True)
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= set(ids)


def test_dark_and_light_differ_and_have_all_their_colours(drawing: Drawing) -> None:
    for theme, other in (("light", "dark"), ("dark", "light")):
        svg = drawing.svg(theme)  # type: ignore[arg-type]
        colours = set(re.findall(r'(?:fill|stroke)="(#\w+)"', svg))
        assert colours <= {getattr(shades, theme) for shades in COLOURS.values()}
        assert not colours & {getattr(shades, other) for shades in COLOURS.values()}
    assert drawing.png("light") != drawing.png("dark")


def test_words_of_strangers_are_words(tmp_path: Path) -> None:
    facts = report().model.model_copy(update={"id": HOSTILE})
    odd = [one.model_copy(update={"model": HOSTILE, "task": HOSTILE, "strategy": HOSTILE[:90]}) for one in ROWS]
    layers = layer_strip(2, [1], [0.1, 0.2], measure=HOSTILE)
    trained = curves(CurveData([Line(HOSTILE, None, [[LossPoint(1, 1.0)]])], [Score(HOSTILE, "after", 1.0)]))
    for drawing in (
        before_and_after(report(model=facts)), score_by_layers(odd), pareto(odd, link=lambda _: "/x"), layers, trained,
        score_by_layers([*odd, *ROWS]),
    ):  # fmt: skip
        svg = drawing.svg()
        root = Xml.fromstring(svg)
        assert not list(root.iter(f"{SVG}script"))
        assert "\u202e" not in svg
        assert "\x1b" not in svg
        assert max(map(len, texts(svg))) <= 110
        assert drawing.png().startswith(b"\x89PNG")


def test_letters_that_the_picture_has_no_glyph_for_are_no_fault() -> None:
    odd = score_by_layers([row("日本語の戦略😀", 1, 70.0, model="مرحبا")])
    assert any("日本語" in text for text in texts(odd.svg()))
    assert odd.png()


@pytest.mark.parametrize("href", ["javascript:alert(1)", "//evil.example/x", "data:text/html,x", "/\\evil", "x y"])
def test_a_link_leads_to_a_page(href: str) -> None:
    svg = score_by_layers(ROWS, link=lambda _: href).svg()
    assert "<a " not in svg
    assert "evil" not in svg


def test_points_are_links_with_a_title() -> None:
    root = Xml.fromstring(DRAWN["pareto"]().svg(inline=True))
    links = {link.get("href"): link.findtext(f"{SVG}title") for link in root.iter(f"{SVG}a")}
    assert links["/v1/jobs/job_top_2"] == "top, 2 dropped, 4 kept: 75.00 (acme/mini, rte)"
    assert len(links) == 4


def test_series_are_told_apart_without_colour() -> None:
    looks = [look(number) for number in range(96)]
    assert len({(one.colour, one.mark) for one in looks}) == 96
    assert len({(one.mark, str(one.dash)) for one in looks[:12]}) == 12


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_stand_out(theme: str) -> None:
    shade = {name: getattr(shades, theme) for name, shades in COLOURS.items()}
    assert all(contrast(shade[text], shade["paper"]) >= 4.5 for text in ("ink", "muted"))
    assert all(contrast(shade[name], shade["paper"]) >= 3 for name in COLOURS if name[0] == "c")
    on = {"s0": "ink", "s1": "ink", "s2": "ink", "s3": "paper", "s4": "paper"}
    assert all(contrast(shade[name], shade[text]) >= 4.5 for name, text in on.items())


def test_nothing_is_imported_before_something_is_drawn() -> None:
    code = "import sys, figures.jobs, figures.studies; assert not {'matplotlib', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(figures.library.importlib, "import_module", absent)
    with pytest.raises(LayercutError, match=r"pip install 'layercut\[figures\]'") as caught:
        before_and_after(report()).png()
    assert caught.value.code == "figures_not_installed"


def test_settings_of_the_machine_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "axes.facecolor: red\nfont.size: 40\ntext.usetex: True\nsvg.fonttype: path\n"
    )
    code = (
        "from tests.figures.test_drawings import DRAWN; import hashlib;"
        "print([hashlib.sha256(make().svg().encode() + make().png()).hexdigest() for make in DRAWN.values()])"
    )
    root = Path(__file__).parents[2]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def run(**more: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, env={**env, **more}, check=True, capture_output=True
        )
        return done.stdout.decode()

    assert run() == run(MATPLOTLIBRC=str(tmp_path / "matplotlibrc"), PYTHONHASHSEED="7")
