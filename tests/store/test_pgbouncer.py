"""Behind a real PgBouncer that gives each transaction another of a few connections: claims and leases hold as ever.

Every lock of ours ends with its transaction; what a session would keep (statements, timeouts) is not asked for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from api_schemas.events import EventType
from api_schemas.jobs import Status
from store.database import migrate, open_engine
from store.jobs import Claim, JobStore
from store.settings import StoreSettings
from tests.support.events import queue, say
from tests.support.gateway_process import free_port
from tests.support.postgres_server import PostgresServer, postgres_server
from tests.support.processes import eventually
from tests.support.store_samples import FAILED

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
THREADS, CONNECTIONS, JOBS = 8, 3, 40

CONFIG = """
[databases]
postgres = host={socket} user=postgres pool_size={connections}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
ignore_startup_parameters = options
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PGBOUNCER is None, reason="needs PgBouncer: apt-get install pgbouncer"),
]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def pooled(server: PostgresServer) -> Iterator[str]:
    """The URL of the pooler."""
    port, socket = free_port(), str(make_url(server.url).query["host"])
    with tempfile.TemporaryDirectory(prefix="layercut-pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        config = folder / "pgbouncer.ini"
        config.write_text(CONFIG.format(socket=socket, connections=CONNECTIONS, port=port))
        with subprocess.Popen(
            [*as_owner_of(socket), str(PGBOUNCER), "-q", config], stderr=subprocess.DEVNULL
        ) as process:
            try:
                url = f"postgresql://postgres@127.0.0.1:{port}/postgres?prepare_threshold=none"
                eventually(lambda: _answers(port))
                yield url
            finally:
                process.terminate()


def as_owner_of(folder: str) -> list[str]:
    """It does not run as root, and root's PostgreSQL runs as another user, whose socket is for that user alone."""
    owner = os.stat(folder)
    ids = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    return ["setpriv", *ids] if os.geteuid() == 0 else []


def _answers(port: int) -> bool:
    try:
        psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_role_has_the_timeouts_that_the_code_would_ask_for(
    server: PostgresServer, request: pytest.FixtureRequest
) -> None:
    """As docs/scaling.md has it typed, at the defaults."""
    text = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text(encoding="utf-8")
    (statements,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)

    def shown(url: str) -> dict[str, str]:
        engine = open_engine(url, StoreSettings().database_seconds)
        with engine.begin() as connection:
            names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
            found = {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in names}
        engine.dispose()
        return found

    asked_for = shown(server.url)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(statements.replace("ROLE layercut ", "ROLE postgres "))
    pooled = request.getfixturevalue("pooled")  # whose connections are of after that
    assert shown(f"{pooled}?prepare_threshold=none") == asked_for


def test_jobs_are_claimed_and_ended_once(server: PostgresServer, pooled: str) -> None:
    engine = open_engine(pooled)
    migrate(engine)
    store = JobStore(engine)
    ids = [queue(store, {"model": "a/b", "task": "none"}).id for _ in range(JOBS)]

    def work(number: int) -> list[str]:
        done = []
        while claim := store.claim(f"worker-{number}"):
            carry_out(claim)
            done.append(claim.lease.job_id)
        return done

    def carry_out(claim: Claim) -> None:
        # As often as has psycopg prepare a statement, where it may.
        numbers = [store.record(claim.lease, say(EventType.LOG, str(turn))).number for turn in range(6)]
        assert numbers == list(range(3, 9))
        assert store.heartbeat(claim.lease) == Status.RUNNING
        store.finish(claim.lease, FAILED)

    with ThreadPoolExecutor(THREADS) as pool:
        done = [job_id for part in pool.map(work, range(THREADS)) for job_id in part]
    assert Counter(done) == Counter(ids)
    assert {store.get(job_id).attempt for job_id in ids} == {1}
    with psycopg.connect(server.url) as direct:
        [(connections,)] = direct.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
    assert connections <= CONNECTIONS
    engine.dispose()
