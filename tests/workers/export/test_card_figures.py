"""The figures beside a card: files that are there, words for who cannot see them, and never worth a job."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from api_schemas.errors import LayercutError
from api_schemas.figures import CARD, FILES
from api_schemas.reports import Report
from figures.jobs import CurveData, Line, LossPoint
from sources.model_files import is_exported
from tests.support.reports import report
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import Delivered, carry_out, own
from workers.export.card import make_card
from workers.export.figures import write_figures
from workers.export.sums import SUMS
from workers.settings import WorkerSettings
from workers.stages import deliver
from workers.supervision.exported_figures import fault_of

TRAINED = CurveData([Line("recovering", None, [[LossPoint(1, 0.5), LossPoint(2, 0.4)]])], [])
SHORT = {"method": "distill", "epochs": 2, "batch_size": 8}
ODD = report(task=report().task.model_copy(update={"metric": "a]b(c)|<d>"}))


def images(card: str) -> dict[str, str]:
    """Alt texts by address, as a renderer of Markdown has them."""
    body = ModelCard(card).text
    inline = [part for token in MarkdownIt().enable("table").parse(body) for part in token.children or ()]
    return {str(part.attrs["src"]): part.content for part in inline if part.type == "image"}


def test_a_card_shows_the_figures_that_there_are(tmp_path: Path) -> None:
    found = write_figures(report(), TRAINED, tmp_path)
    assert [figure.name for figure in found] == list(CARD)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == set(FILES)
    shown = images(make_card(report(), found))
    assert set(shown) == {figure.path for figure in found}
    assert all((tmp_path / path).is_file() for path in shown)
    assert "109.5 M before, 81.1 M after" in shown["figures/before_and_after.png"]
    assert images(make_card(report())) == {}


def test_words_in_alt_texts_stay_within_them(tmp_path: Path) -> None:
    found = write_figures(ODD, TRAINED, tmp_path)
    assert set(images(make_card(ODD, found))) == {figure.path for figure in found}


def test_what_lacks_something_is_left_out(tmp_path: Path) -> None:
    plain = report()
    whole = plain.layers.model_copy(update={"kept": list(range(12)), "dropped": []})
    assert write_figures(report(layers=whole, after=plain.before), CurveData([], []), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_the_figures_of_a_job_are_hashed_and_allowed_and_its_numbers_are_the_cards(
    tmp_path: Path, settings: WorkerSettings, table: Path
) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    done = carry_out({"model": str(model), "task": own(table), "recovery": SHORT}, settings)
    card = (done.folder / "README.md").read_text()
    assert set(images(card)) == {f"figures/{name}.png" for name in CARD}
    sums = dict(reversed(line.split("  ")) for line in (done.folder / SUMS).read_text().splitlines())
    for name in FILES:
        content = (done.folder / name).read_bytes()
        assert sums[name] == hashlib.sha256(content).hexdigest()
        assert is_exported(name)
        assert fault_of(name, content) is None
    listed = {row.metric_name: row.metric_value for row in ModelCard(card).data.eval_results}
    assert listed == {name: round(value, 4) for name, value in done.report.after.metrics.items() if value is not None}
    svg = (done.folder / "figures/curves.svg").read_text()
    assert re.search(r"loss of baseline went from .* The loss of recovering went from", svg)
    assert f"{done.report.training['recovering'].steps}." in svg


def test_a_job_that_trains_nothing_shows_layers_and_sizes(tmp_path: Path, settings: WorkerSettings) -> None:
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    done = carry_out({"model": str(model), "task": "none", "prune": {"drop": 1}}, settings)
    assert set(images((done.folder / "README.md").read_text())) == {
        "figures/layers.png", "figures/before_and_after.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no ink"), LayercutError("figures_not_installed", "no ink: pip install 'layercut[figures]'")],
    ids=["fault", "absent"],
)
def test_a_figure_that_fails_is_a_warning(
    error: Exception, tmp_path: Path, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(made: Report, curves: CurveData, folder: Path) -> None:
        (folder / "figures").mkdir()
        (folder / "figures" / "half.svg").write_text("<svg")
        raise error

    monkeypatch.setattr(deliver, "write_figures", fail)
    model = tiny_model("bert", tmp_path / "source", head="base", layers=3)
    done: Delivered = carry_out({"model": str(model), "task": "none", "prune": {"drop": 1}}, settings)
    (warning,) = [text for text in done.report.warnings if text.startswith("the card has no figures: ")]
    assert "no ink" in warning
    assert not (done.folder / "figures").exists()
    card = (done.folder / "README.md").read_text()
    assert "the card has no figures" in card
    assert images(card) == {}
