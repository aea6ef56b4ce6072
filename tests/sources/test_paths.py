"""No path of a request leaves the allowed folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from sources.paths import inside_roots
from sources.settings import SourceSettings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    (root / "reviews.csv").write_text("text,label\n")
    (tmp_path / "database").mkdir()
    (tmp_path / "database" / "secret.csv").write_text("text,label\n")
    return root


def allowed(path: str | Path, *roots: Path) -> Path:
    return inside_roots(str(path), roots, what="dataset", param="/task/dataset")


def test_a_file_under_a_root_is_found(root: Path) -> None:
    assert allowed(root / "reviews.csv", Path("/nowhere"), root) == root / "reviews.csv"


def test_a_link_that_stays_inside_is_followed(root: Path) -> None:
    (root / "link.csv").symlink_to(root / "reviews.csv")
    assert allowed(root / "link.csv", root) == root / "reviews.csv"


def test_a_root_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert allowed(tmp_path / "alias" / "reviews.csv", tmp_path / "alias") == root / "reviews.csv"


@pytest.mark.parametrize(
    "path",
    [
        "{root}/../database/secret.csv",
        "{root}/sub/../reviews.csv",
        "{root}/../database/nothing-there.csv",
        "{root}base/secret.csv",
        "/etc/passwd",
        "~/reviews.csv",
        "./reviews.csv",
        "reviews.csv",
        "{root}/out.csv",
        "{root}/out/secret.csv",
        "{root}/loop",
        "{root}/nul\0.csv",
        "{root}/" + "x" * 300,
    ],
)
def test_a_path_that_leaves_the_roots_is_refused(root: Path, path: str) -> None:
    (root / "out.csv").symlink_to("/etc/passwd")
    (root / "out").symlink_to(root.parent / "database")
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(LayercutError) as caught:
        allowed(path.format(root=root), root)
    assert caught.value.code == "dataset_not_allowed"
    assert caught.value.param == "/task/dataset"


def test_outside_nothing_is_told_about_what_exists(root: Path) -> None:
    texts = set()
    for name in ("secret.csv", "nothing.csv"):
        with pytest.raises(LayercutError) as caught:
            allowed(root.parent / "database" / name, root)
        texts.add(caught.value.message.replace(name, ""))
    assert len(texts) == 1


def test_a_missing_file_is_not_found(root: Path) -> None:
    with pytest.raises(LayercutError, match=r"no file or folder .*nothing\.csv") as caught:
        allowed(root / "nothing.csv", root)
    assert caught.value.code == "dataset_not_found"


def test_without_roots_the_setting_to_set_is_named(root: Path) -> None:
    with pytest.raises(LayercutError, match="LAYERCUT_DATA_ROOTS"):
        allowed(root / "reviews.csv")


def test_roots_come_colon_separated_and_empty_variables_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCUT_MODEL_ROOTS", "/models:/more/models:")
    monkeypatch.setenv("LAYERCUT_DATA_ROOTS", "")
    monkeypatch.setenv("LAYERCUT_GLUE_DIR", "")
    settings = SourceSettings()
    assert settings.model_roots == [Path("/models"), Path("/more/models")]
    assert settings.data_roots == []
    assert settings.glue_dir is None


def test_a_relative_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCUT_MODEL_ROOTS", "models")
    with pytest.raises(ValueError, match="must be absolute"):
        SourceSettings()
