"""Settings from the environment, and ids."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from store.artifacts import ArtifactStore
from store.broker import ensure_folders
from store.database import migrate, open_engine
from store.ids import is_job_id, new_job_id
from store.settings import StoreSettings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATA_DIR", "DATABASE_URL", "BROKER_URL", "ARTIFACTS_URL", "LEASE_SECONDS"):
        monkeypatch.delenv(f"LAYERCUT_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_an_empty_value_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a line of deploy/env.example that has lost its `#`, and of what compose passes on."""
    for name in ("DATA_DIR", "LEASE_SECONDS", "TENANT_RUNNING_JOBS", "DATABASE_URL"):
        monkeypatch.setenv(f"LAYERCUT_{name}", "")
    settings = StoreSettings()
    assert settings == StoreSettings(data_dir=tmp_path / ".layercut")
    assert settings.lease_seconds == 60


def test_everything_lies_in_the_home_folder_by_default(tmp_path: Path) -> None:
    settings = StoreSettings()
    folder = tmp_path / ".layercut"
    assert settings.data_dir == folder
    assert settings.database_url == f"sqlite:///{folder}/layercut.db"
    assert settings.broker_url == f"filesystem://{folder}/broker"
    assert settings.artifacts_url == f"file://{folder}/artifacts"
    assert settings.lease_seconds == 60


def test_a_data_folder_with_odd_letters_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my data #1, 100% öl"
    monkeypatch.setenv("LAYERCUT_DATA_DIR", str(folder))
    settings = StoreSettings()
    engine = open_engine(settings.database_url)
    migrate(engine)
    engine.dispose()
    ensure_folders(settings.broker_url)
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.txt").write_text("a")
    ArtifactStore(settings.artifacts_url).publish("p", files)
    assert {path.name for path in folder.iterdir()} >= {"layercut.db", "broker", "artifacts"}
    assert (folder / "artifacts" / "p" / "a.txt").read_text() == "a"


def test_urls_win_over_the_folder_and_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCUT_DATABASE_URL", "postgresql://u:hunter2@db/layercut")
    monkeypatch.setenv("LAYERCUT_BROKER_URL", "redis://:hunter2@broker/0")
    monkeypatch.setenv("LAYERCUT_ARTIFACTS_URL", "")
    settings = StoreSettings()
    assert settings.database_url == "postgresql://u:hunter2@db/layercut"
    assert settings.broker_url == "redis://:hunter2@broker/0"
    assert settings.artifacts_url.startswith("file://"), "empty means the default, as an env file writes it"
    assert "hunter2" not in repr(settings)


def test_a_lease_of_no_length_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCUT_LEASE_SECONDS", "0")
    with pytest.raises(ValidationError, match="lease_seconds"):
        StoreSettings()


def test_ids_sort_by_the_time_they_were_made_at() -> None:
    moments = [datetime.fromtimestamp(seconds, UTC) for seconds in (0, 1, 1_700_000_000, 1_700_000_001, 10**10)]
    made = [new_job_id(moment) for moment in moments]
    assert made == sorted(made)
    assert all(is_job_id(job_id) for job_id in made)
    assert new_job_id(moments[0]) != new_job_id(moments[0]), "chance tells two of the same moment apart"


def test_an_id_is_later_than_the_newest_though_the_clock_stands_or_is_set_back() -> None:
    made = [new_job_id(datetime(2026, 11, 29, tzinfo=UTC))]
    for moment in (datetime(2026, 11, 29, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)):
        for _ in range(50):
            made.append(new_job_id(moment, made[-1]))
    assert made == sorted(made)
    assert is_job_id(new_job_id(datetime(2026, 1, 1, tzinfo=UTC), f"job_{24 * 'z'}"))
