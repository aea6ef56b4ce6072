"""The table of faults: what each does, what it touches, for how long, on which deployment, how often."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from tests.chaos.harness.acts import (
    MALFORMED,
    backend_sent,
    frozen,
    frozen_postgres,
    frozen_valkey,
    killed_in_request,
    locked_sqlite,
    malformed_files,
    postgres_of,
    receiver_says,
    rolling_restart,
    sent,
    serve_of,
    service_killed,
    stopped_for_good,
    store_away_at_publishing,
    valkey_of,
    valkey_said,
    worker_killed_at_publishing,
    workers_live,
)
from tests.chaos.harness.deployment import LEASE_SECONDS, Deployment
from tests.chaos.harness.file_acts import (
    broker_folder_deleted,
    disk_full,
    half_uploaded,
    scratch_deleted,
    scratch_root_deleted,
    store_away,
    store_folder_away,
    undeletable_file,
)
from tests.chaos.harness.scene import Act


@dataclass(frozen=True)
class Fault:
    """``touches`` is what answers may suffer from, and what no other fault lays hands on meanwhile."""

    name: str
    act: Act
    touches: frozenset[str]
    hold: tuple[float, float] = (0.0, 0.0)
    only: str | None = None
    weight: int = 4


def _on(*what: str) -> frozenset[str]:
    return frozenset(what)


SHORT, LONG = (0.5, 2.0), (LEASE_SECONDS + 1, LEASE_SECONDS + 3)
KILL, TERM = signal.SIGKILL, signal.SIGTERM
#: Has PostgreSQL end without waiting for its clients.
FAST = signal.SIGINT
LIST = "layercut:layercut"
MALFORMED_IN_VALKEY = valkey_said("LPUSH", LIST, *MALFORMED)
#: Within which a worker has read its messages.
READ = (2.0, 3.0)

# fmt: off
FAULTS: tuple[Fault, ...] = (
    Fault("gateway killed", sent("gateway", KILL), _on("gateway"), weight=3),
    Fault("gateway told to stop", sent("gateway", TERM), _on("gateway"), weight=3),
    Fault("gateway frozen, shortly", frozen("gateway"), _on("gateway"), SHORT),
    Fault("gateway frozen, longer than a lease", frozen("gateway"), _on("gateway"), LONG, weight=2),
    Fault("gateway killed in a POST of a retry", killed_in_request("POST", "/retry"), _on("gateway"), weight=2),
    Fault("gateway killed in a DELETE of a running job", killed_in_request("DELETE", ""), _on("gateway"), weight=2),
    Fault("worker killed", sent("worker", KILL), _on("worker"), weight=6),
    Fault("worker told to stop", sent("worker", TERM), _on("worker")),
    Fault("worker frozen, shortly", frozen("worker"), _on("worker"), SHORT),
    Fault("worker frozen, longer than a lease", frozen("worker"), _on("worker"), LONG),
    Fault("worker killed at publishing", worker_killed_at_publishing, _on("worker")),
    Fault("runner killed", sent("runner", KILL), _on("runner"), weight=6),
    Fault("runner told to stop", sent("runner", TERM), _on("runner")),
    Fault("runner frozen, shortly", frozen("runner"), _on("runner"), SHORT),
    Fault("runner frozen, longer than a lease", frozen("runner"), _on("runner"), LONG),
    Fault("runner stopped for good", stopped_for_good, _on("runner"), weight=2),
    Fault("verifier killed", sent("verifier", KILL), _on("runner"), weight=2),
    Fault("scratch folder deleted", scratch_deleted, _on("runner")),
    Fault("scratch root deleted", scratch_root_deleted, _on("runner")),
    Fault("store away", store_away, _on("store"), (2.0, 6.0)),
    Fault("store away at publishing", store_away_at_publishing, _on("store"), (3.0, 8.0)),
    Fault("half-uploaded file planted", half_uploaded, _on("planted")),
    Fault("undeletable file planted", undeletable_file, _on("undeletable"), (5.0, 15.0), weight=2),
    Fault("all restarted, one after the other", rolling_restart, _on("restart"), weight=2),
    Fault("webhook receiver answers 500", receiver_says(500), _on("receiver"), SHORT, weight=2),
    # Of `layercut serve` alone.
    Fault("serve killed", service_killed(serve_of, KILL), _on("gateway", "worker"), (0.2, 1.0), "embedded", 2),
    Fault("serve told to stop", service_killed(serve_of, TERM), _on("gateway", "worker"), (0.2, 1.0), "embedded", 2),
    Fault("disk full", disk_full(0), _on("disk", "store", "database"), (2.0, 5.0), "embedded"),
    Fault("SQLite's write lock held", locked_sqlite, _on("database"), (1.0, 5.0), "embedded"),
    Fault("broker folder deleted", broker_folder_deleted, _on("broker"), (0.0, 0.0), "embedded"),
    Fault("malformed messages in the broker", workers_live(malformed_files), _on("broker"), READ, "embedded"),
    # Of PostgreSQL and Valkey.
    Fault("PostgreSQL killed", service_killed(postgres_of, KILL), _on("database"), (0.5, 3.0), "production"),
    Fault("PostgreSQL restarted", service_killed(postgres_of, FAST), _on("database"), (0.5, 3.0), "production"),
    Fault("PostgreSQL frozen", frozen_postgres, _on("database"), (1.0, 5.0), "production"),
    Fault("backend killed", backend_sent(KILL), _on("database"), (0.0, 0.0), "production"),
    Fault("backend told to stop", backend_sent(TERM), _on("database"), (0.0, 0.0), "production"),
    Fault("Valkey killed", service_killed(valkey_of, KILL), _on("broker"), (0.5, 4.0), "production"),
    Fault("Valkey restarted", service_killed(valkey_of, TERM), _on("broker"), (0.2, 1.0), "production"),
    Fault("Valkey frozen", frozen_valkey, _on("broker"), (1.0, 5.0), "production"),
    Fault("Valkey flushed", valkey_said("FLUSHALL"), _on("broker"), (0.0, 0.0), "production"),
    Fault("malformed messages in Valkey", workers_live(MALFORMED_IN_VALKEY), _on("broker"), READ, "production"),
    Fault("folder of the store away", store_folder_away, _on("store"), (2.0, 6.0), "production"),
    Fault("disk of the store full", disk_full(0), _on("disk", "store"), (2.0, 5.0), "production"),
    Fault("disk of the workers full", disk_full(1), _on("disk"), (2.0, 5.0), "production"),
)
# fmt: on


def faults_of(deployment: Deployment) -> list[Fault]:
    return [fault for fault in FAULTS if fault.only in (None, deployment.name)]
