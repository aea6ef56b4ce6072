"""What an earlier job delivered, as another job uses it: pinned to the very files that were there when it was asked."""

from __future__ import annotations

from operator import not_
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from api_schemas.architectures import ModelFacts
from api_schemas.errors import LayercutError

#: How a request names what a job delivered.
PREFIX = "job:"
JOB_REF = r"job:job_[0-9a-hjkmnp-tv-z]{24}"

JobRef = Annotated[str, Field(max_length=32, pattern=f"^{JOB_REF}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Delivered(BaseModel):
    """The model of an earlier job. A worker uses these files, or none."""

    model_config = ConfigDict(extra="forbid")

    job: str
    #: Where its files lie in the artifact store: for the service and its workers. Left out of what is shown: an
    #: attempt's token is in it.
    artifact: SkipJsonSchema[str] = Field(default="", exclude_if=not_)
    manifest: Sha256 = Field(description="of the list of its files")
    sha256: Sha256 = Field(description="of the contents of the model's files")
    model: ModelFacts

    @property
    def ref(self) -> str:
        """As a request names it."""
        return f"{PREFIX}{self.job}"


class Start(Delivered):
    """What `recovery.from` starts from. ``kept`` are its layers, by their numbers in the original model."""

    total: int = Field(description="layers of the original model")
    kept: list[int]
    source: str | None = Field(default=None, description="sha256 of the original's weights, where that job took it")

    def place(self, layer: int) -> int:
        """Of an original's layer among those that are left."""
        return self.kept.index(layer)

    def originals(self, layers: list[int]) -> list[int]:
        """The original's numbers of layers that are numbered from 0 in what is left."""
        return [self.kept[layer] for layer in layers]

    def check_source(self, found: str | None) -> None:
        """Raise ``validation_failed`` where the original model, whose weights have the sha256 ``found``, is another's.

        Where one of the two is not known, their ids, commits and shapes were compared, and no more can be.
        """
        if found is not None and self.source is not None and found != self.source:
            raise LayercutError(
                "validation_failed",
                f"the weights of the model are not those that {self.job} began with: give the model that it had, or"
                f" model: job:{self.job} to go on from what it delivered",
                param="/model",
            )


def job_of(ref: str) -> str:
    """The id in a ``JobRef``."""
    return ref.removeprefix(PREFIX)
