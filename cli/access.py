"""`layercut keys | tenants | audit`: who may use the API. They work on the database, with or without a gateway."""

# ruff: noqa: PLC0415 - as in cli/main.py: no command waits for what it does not use

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cli.extras import need
from cli.texts import say, table

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from api_schemas.tenants import TenantInfo


def _need_gateway() -> None:
    need("gateway")


keys = typer.Typer(name="keys", help="Keys to the API.", no_args_is_help=True, callback=_need_gateway)
tenants = typer.Typer(
    name="tenants", help="Who owns jobs, and how much each may use.", no_args_is_help=True, callback=_need_gateway
)

#: `Scope` of api_schemas, which no command waits for that does not use it.
ScopeName = Literal["read", "submit", "admin"]
TenantOption = Annotated[str, typer.Option("--tenant", help="whose; `layercut tenants list` shows all")]
Quota = Annotated[int | None, typer.Option(min=0, help="0: no limit")]
Shared = Annotated[
    bool | None,
    typer.Option("--shared-baselines/--own-baselines", help="read and write the cache of all tenants that share"),
]


@keys.command("create")
def create_key(
    tenant: TenantOption = "default",
    name: Annotated[str, typer.Option(help="what it is for")] = "unnamed",
    scope: Annotated[ScopeName, typer.Option(help="each may do what those before it may")] = "submit",
    expires_in_days: Annotated[float | None, typer.Option(min=0, help="without it, it stays until revoked")] = None,
) -> None:
    """Make a key, and print it: it is shown this once."""
    from api_schemas.tenants import Scope
    from store.audit import Actor
    from store.keys import KeyStore

    with _database() as engine:
        made = KeyStore(engine).create(tenant, name, Scope(scope), expires_in_days=expires_in_days, by=Actor(tenant))
    _hand_over(made.key)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option(help="of one tenant alone")] = None,
) -> None:
    """All keys, newest first, without their secrets."""
    from store.keys import KeyStore

    with _database() as engine:
        found = KeyStore(engine).list(tenant)
    table(
        ("id", "tenant", "scope", "created", "expires", "revoked", "last used", "name"),
        (
            (key.id, key.tenant, key.scope, key.created_at, key.expires_at, key.revoked_at, key.last_used_at, key.name)
            for key in found
        ),
    )


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="its shown part, lc_…")]) -> None:
    """End a key. Gateways that run refuse it within 15 seconds."""
    from store.audit import Actor
    from store.keys import KeyStore

    with _database() as engine:
        store = KeyStore(engine)
        store.revoke(key_id, by=Actor(store.get(key_id).tenant))
    say(f"{key_id} is revoked")


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(help="its shown part, lc_…")],
    grace_seconds: Annotated[float, typer.Option(min=0, help="how long the old one still works")] = 0.0,
) -> None:
    """Make a key in the place of another, and print it."""
    from store.audit import Actor
    from store.keys import KeyStore

    with _database() as engine:
        store = KeyStore(engine)
        made = store.rotate(key_id, grace_seconds=grace_seconds, by=Actor(store.get(key_id).tenant))
    _hand_over(made.key)


@tenants.command("create")
def create_tenant(
    tenant: Annotated[str, typer.Argument(help="its id: lower case letters, digits and -")],
    name: Annotated[str | None, typer.Option(help="for people; by default the id")] = None,
    *,
    queued_jobs: Quota = None,
    running_jobs: Quota = None,
    artifact_bytes: Quota = None,
    requests_per_minute: Quota = None,
    shared_baselines: Shared = None,
) -> None:
    """Make a tenant. Quotas that are not given are those of LAYERCUT_TENANT_*."""
    from api_schemas.tenants import Quotas
    from store.settings import StoreSettings
    from store.tenants import TenantStore

    given = _given(locals(), *Quotas.model_fields)
    with _database() as engine:
        quotas = StoreSettings().tenant_quotas.model_copy(update=given)
        made = TenantStore(engine).create(tenant, name or tenant, quotas, shared_baselines=bool(shared_baselines))
    _show([made])


@tenants.command("list")
def list_tenants() -> None:
    """All tenants with their quotas."""
    from store.tenants import TenantStore

    with _database() as engine:
        _show(TenantStore(engine).list())


@tenants.command("set")
def set_tenant(
    tenant: Annotated[str, typer.Argument(help="its id")],
    name: Annotated[str | None, typer.Option(help="for people")] = None,
    *,
    queued_jobs: Quota = None,
    running_jobs: Quota = None,
    artifact_bytes: Quota = None,
    requests_per_minute: Quota = None,
    shared_baselines: Shared = None,
) -> None:
    """Change what is given; the rest stays. Gateways that run know it within 15 seconds."""
    from api_schemas.tenants import Quotas
    from store.tenants import TenantStore

    values: dict[str, Any] = _given(locals(), *Quotas.model_fields)
    values |= {} if name is None else {"name": name}
    values |= {} if shared_baselines is None else {"shared_baselines": shared_baselines}
    with _database() as engine:
        _show([TenantStore(engine).change(tenant, **values)])


def list_audit(
    tenant: Annotated[str | None, typer.Option(help="of one tenant alone")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="as many of the newest lines")] = 100,
) -> None:
    """Who did what, and who was refused, newest first."""
    need("gateway")
    from store.audit import AuditLog

    with _database() as engine:
        lines, _ = AuditLog(engine).page(tenant, limit=limit)
    table(
        ("at", "tenant", "key", "action", "target", "outcome", "address", "request"),
        (
            (line.at, line.tenant, line.key_id, line.action, line.target, line.outcome, line.address, line.request_id)
            for line in lines
        ),
    )


@contextmanager
def _database() -> Iterator[Engine]:
    """Opened and brought up to date; what is refused is one sentence, and exit code 1."""
    from api_schemas.errors import LayercutError
    from store.database import DatabaseAway, NewerDatabase, migrate_when_there, open_engine
    from store.settings import StoreSettings

    engine = open_engine(StoreSettings().database_url)
    try:
        migrate_when_there(engine, typer.echo, seconds=0)
        yield engine
    except (LayercutError, DatabaseAway, NewerDatabase) as error:
        say(error)
        raise typer.Exit(1) from None
    finally:
        engine.dispose()


def _given(values: dict[str, Any], *names: str) -> dict[str, int | None]:
    """The quotas that were given: 0 is none."""
    return {name: values[name] or None for name in names if values[name] is not None}


def _hand_over(key: str) -> None:
    # The key alone on stdout, for a file or a variable.
    typer.echo(key)
    say("this is shown once; send it as `Authorization: Bearer …`")


def _show(found: list[TenantInfo]) -> None:
    from api_schemas.tenants import Quotas

    names = list(Quotas.model_fields)
    table(
        ("id", *names, "baselines", "name"),
        (
            (t.id, *(getattr(t.quotas, name) for name in names), "shared" if t.shared_baselines else "own", t.name)
            for t in found
        ),
    )
