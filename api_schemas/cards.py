"""What a model card says at its top, as far as what is made of the model says it again."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

#: A hub id: a name, or two with a slash between.
HUB_ID = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95})?$"

HubId = Annotated[str, Field(pattern=HUB_ID)]
Language = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{1,34}$")]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_ .:/+-]{0,63}$")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
License = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}$")]
#: A name in the repository, or an address.
Link = Annotated[str, Field(pattern=r"^(https?://[A-Za-z0-9_.~%/?=&#+:@-]{1,300}|[A-Za-z0-9_][A-Za-z0-9_.-]{0,99})$")]


class CardFacts(BaseModel):
    """The front matter of the source's README.md, by the hub's names. What is not as the hub has it is left out."""

    model_config = ConfigDict(frozen=True)

    base_model: list[HubId] = Field(default=[], max_length=100, description="models that it was made of")
    language: list[Language] = Field(default=[], max_length=100, description="of its texts, as codes")
    datasets: list[HubId] = Field(default=[], max_length=100, description="that it learnt from")
    tags: list[Tag] = Field(default=[], max_length=100, description="words to find it by")
    pipeline_tag: Word | None = Field(default=None, description="what it does, in the hub's words")
    license: License | None = Field(default=None, description="as a code of the hub")
    license_name: License | None = Field(default=None, description="where that is `other`")
    license_link: Link | None = Field(default=None, description="to the license's text")
