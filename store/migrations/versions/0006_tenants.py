"""Every row has an owner: tenants, their keys and the audit log. What is there already is the tenant `default`'s."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from store.columns import Id, PlainText, UtcTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEPT = "fingerprint, kind, state, prefix, job_id, lease_token, seconds, bytes, created_at, used_at"
QUEUE = ["priority DESC", "created_at", "id"]


def upgrade() -> None:
    _make_tenants()
    _make_keys()
    _make_audit()
    op.add_column("jobs", sa.Column("tenant", Id, nullable=False, server_default="default"))
    op.add_column("jobs", sa.Column("bytes", sa.BigInteger))
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", ["status", "tenant", *map(sa.text, QUEUE)])
    op.create_index("ix_jobs_tenant", "jobs", ["tenant", "id"])
    _remake_cache("pool, ", "'default', ", sa.Column("pool", Id, nullable=False), key=["pool", "fingerprint"])


def downgrade() -> None:
    """The older code knows one owner: what others had made for themselves is not handed to all."""
    op.execute("DELETE FROM cache WHERE pool <> 'default'")
    _remake_cache("", "", key=["fingerprint"])
    op.drop_index("ix_jobs_tenant", "jobs")
    op.drop_index("ix_jobs_queue", "jobs")
    op.create_index("ix_jobs_queue", "jobs", ["status", *map(sa.text, QUEUE)])
    for column in ("bytes", "tenant"):
        op.drop_column("jobs", column)
    for table in ("audit", "api_keys", "tenants"):
        op.drop_table(table)


def _make_tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", PlainText, nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("queued_jobs", sa.Integer),
        sa.Column("running_jobs", sa.Integer),
        sa.Column("artifact_bytes", sa.BigInteger),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("shared_baselines", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("claimed_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
    )
    op.execute("INSERT INTO tenants (id, name, created_at) VALUES ('default', 'default', CURRENT_TIMESTAMP)")


def _make_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", Id, nullable=False),
        sa.Column("tenant", Id, nullable=False),
        sa.Column("name", PlainText, nullable=False),
        sa.Column("hash", sa.String(200), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("expires_at", UtcTime),
        sa.Column("revoked_at", UtcTime),
        sa.Column("last_used_at", UtcTime),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_api_keys_tenant"),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant", "created_at"])


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, autoincrement=True),
        sa.Column("at", UtcTime, nullable=False),
        sa.Column("tenant", Id),
        sa.Column("key_id", Id),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("target", PlainText),
        sa.Column("outcome", PlainText, nullable=False),
        sa.Column("request_id", PlainText),
        sa.Column("address", PlainText),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_tenant", "audit", ["tenant", "number"])
    op.create_index("ix_audit_at", "audit", ["at"])


def _remake_cache(to: str, value: str, *more: sa.Column[Any], key: list[str]) -> None:
    """SQLite cannot change a primary key: the rows move to a new table, which then takes the name."""
    op.drop_index("ix_cache_used_at", "cache")
    op.rename_table("cache", "cache_before")
    if op.get_bind().dialect.name == "postgresql":  # where a constraint keeps its name, and names are of the schema
        op.execute("ALTER TABLE cache_before DROP CONSTRAINT pk_cache")
    op.create_table(
        "cache",
        *more,
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("prefix", PlainText, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("lease_token", sa.String(64), nullable=False),
        sa.Column("seconds", sa.Float),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("created_at", UtcTime, nullable=False),
        sa.Column("used_at", UtcTime, nullable=False),
        sa.PrimaryKeyConstraint(*key, name="pk_cache"),
    )
    op.execute(f"INSERT INTO cache ({to}{KEPT}) SELECT {value}{KEPT} FROM cache_before")
    op.drop_table("cache_before")
    op.create_index("ix_cache_used_at", "cache", ["used_at"])
