"""Where a job's model goes beside the artifact store: a repository on the model hub."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, Field, field_validator

from api_schemas.errors import JobError, LayercutError
from api_schemas.request_parts import Request

#: The branch that every repository has.
MAIN = "main"

#: What its owner and its own name are made of; as the hub has it, with neither `--` nor `..` in it.
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(rf"(?!.*(?:--|\.\.)){_PART}/{_PART}(?<!\.git)")
_BRANCH = re.compile(r"(?!.*\.\.)[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9_])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class PushSpec(Request):
    """A repository on the hub that the files are pushed to, once they are verified and published."""

    repo: Annotated[str, Field(max_length=193, json_schema_extra={"pattern": rf"^{_PART}/{_PART}$"})] = Field(
        description="`owner/name`; it is made where it is missing. LAYERCUT_PUSH_OWNERS names the owners that may be"
        " pushed to"
    )
    revision: str = Field(default=MAIN, max_length=100, description="a branch; it is made where it is missing")
    private: bool = Field(
        default=True, description="of a repository that is made. True: nothing is pushed to one that is public"
    )

    @property
    def owner(self) -> str:
        return self.repo.partition("/")[0]

    @field_validator("repo")
    @classmethod
    def _is_repo(cls, repo: str) -> str:
        if _REPO.fullmatch(repo) is None:
            raise LayercutError(
                "validation_failed",
                f"{repo!r} is no repository: it must be owner/name, each of letters, digits, `.`, `_` and `-`",
                param="/export/push_to/repo",
            )
        return repo

    @field_validator("revision")
    @classmethod
    def _is_branch(cls, revision: str) -> str:
        if _BRANCH.fullmatch(revision) is None or _COMMIT.fullmatch(revision):
            raise LayercutError(
                "validation_failed",
                f"{revision!r} is no branch: nothing can be pushed to a commit, and a name is of letters, digits, `.`,"
                " `_`, `-` and `/`",
                param="/export/push_to/revision",
            )
        return revision


class Pushed(BaseModel):
    """What became of a push. A job whose push failed has its artifact, and has succeeded."""

    repo: str = Field(description="on the hub, as owner/name")
    revision: str = Field(description="the branch")
    commit: str | None = Field(default=None, description="null: it failed")
    url: str | None = Field(default=None, description="of the commit")
    error: JobError | None = Field(default=None, description="why it failed")

    @property
    def message(self) -> str:
        """For people."""
        where = f"{self.repo}, branch {self.revision}"
        if self.error is None:
            return f"pushed to {where}: {self.url}"
        return f"not pushed to {where}: {self.error.code}: {self.error.message}"
