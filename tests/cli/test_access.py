"""`layercut keys | tenants | audit`, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from store.database import open_engine
from store.keys import Holder, KeyStore, Rejected


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("DATABASE_URL", "HOST", "AUTH"):
        monkeypatch.delenv(f"LAYERCUT_{name}", raising=False)
    monkeypatch.setenv("LAYERCUT_DATA_DIR", str(tmp_path))
    return f"sqlite:///{tmp_path}/layercut.db"


def layercut(*arguments: str, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def verified(database: str, key: str) -> Holder | Rejected:
    engine = open_engine(database)
    try:
        return KeyStore(engine).verify(key.strip())
    finally:
        engine.dispose()


def test_a_tenant_and_its_keys(database: str) -> None:
    shown, _ = layercut("tenants", "create", "team-a", "--queued-jobs", "5", "--requests-per-minute", "0")
    assert shown.splitlines()[1].split() == ["team-a", "5", "-", "107374182400", "-", "own", "team-a"]
    key, told = layercut("keys", "create", "--tenant", "team-a", "--name", "ci", "--scope", "admin")
    assert "this is shown once" in told
    holder = verified(database, key)
    assert isinstance(holder, Holder)
    assert (holder.tenant, holder.scope, holder.quotas.queued_jobs) == ("team-a", "admin", 5)
    new, _ = layercut("keys", "rotate", key[:11])
    assert isinstance(verified(database, key), Rejected)
    assert isinstance(verified(database, new), Holder)
    layercut("keys", "revoke", new[:11])
    assert isinstance(verified(database, new), Rejected)
    shown, _ = layercut("keys", "list")
    assert key[:11] in shown
    assert key.strip() not in shown
    layercut("tenants", "set", "team-a", "--shared-baselines", "--queued-jobs", "0")
    assert "shared" in layercut("tenants", "list")[0]
    actions = [line.split()[3] for line in layercut("audit", "--tenant", "team-a")[0].splitlines()[1:]]
    assert actions == ["tenant.change", "key.revoke", "key.rotate", "key.create", "tenant.create"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "create", "--tenant", "teem"), "there is no tenant 'teem'; known: default"),
        (("keys", "revoke", "lc_nothing0"), "there is no key 'lc_nothing0'"),
        (("tenants", "create", "Team A"), "cannot be a tenant's id"),
        (("tenants", "create", "default"), "there is a tenant 'default' already"),
        (("gateway", "--host", "0.0.0.0"), "0.0.0.0 can be reached by others, and there is no key to the API yet"),
    ],
)
def test_what_is_refused_is_one_sentence(database: str, arguments: tuple[str, ...], said: str) -> None:
    _, told = layercut(*arguments, code=1)
    assert told.startswith("layercut: ")
    assert said in told
    assert len(told.splitlines()) == 1
