"""What the owner of a token of the hub may do, by what the hub says of both; pure."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api_schemas.push import PushSpec


class _Organization(BaseModel):
    name: str
    role: str = Field(default="", alias="roleInOrg")


class _Entity(BaseModel):
    type: str = ""
    name: str = ""


class _Scope(BaseModel):
    entity: _Entity = _Entity()
    permissions: list[str] = []


class _FineGrained(BaseModel):
    scoped: list[_Scope] = []


class _Token(BaseModel):
    role: str = ""
    fine_grained: _FineGrained | None = Field(default=None, alias="fineGrained")


class _Auth(BaseModel):
    token: _Token = Field(default=_Token(), alias="accessToken")


class TokenOwner(BaseModel):
    """The answer of ``whoami-v2``, as far as it is read here."""

    name: str
    organizations: list[_Organization] = Field(default=[], alias="orgs")
    auth: _Auth = _Auth()


def lacking_right(found: TokenOwner, push: PushSpec) -> str | None:
    """Why the push would be refused; None where it would not, or where that cannot be told."""
    owner, token = push.owner.casefold(), found.auth.token
    organization = next((one for one in found.organizations if one.name.casefold() == owner), None)
    if found.name.casefold() != owner and organization is None:
        return f"the service's token is of {found.name!r}, who is no member of {push.owner!r}"
    if organization is not None and organization.role == "read":
        return f"{found.name!r}, whose token the service has, may only read what {push.owner!r} has"
    if token.role == "read":
        return "the service's token may only read: a push needs one that may write"
    if token.role == "fineGrained" and not _may_write(token.fine_grained or _FineGrained(), push):
        return f"the service's token has no right to write to repositories of {push.owner!r}"
    return None


def _may_write(rights: _FineGrained, push: PushSpec) -> bool:
    """To the repository itself, or to all of its owner's."""
    ours = {push.owner.casefold(), push.repo.casefold()}
    granted = (scope.permissions for scope in rights.scoped if scope.entity.name.casefold() in ours)
    return any(name.startswith("repo.") and "write" in name for names in granted for name in names)
