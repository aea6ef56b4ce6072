"""Where models and data may come from: environment, prefix ``LAYERCUT_``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sources.fetched import Fetched
from sources.inputs import Inputs
from sources.objects.addresses import parse
from sources.tables.bounds import TABLE_BYTES


def _split(value: Any) -> Any:
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


def _absolute(roots: list[Path]) -> list[Path]:
    roots = [root.expanduser() for root in roots]
    relative = [str(root) for root in roots if not root.is_absolute()]
    if relative:
        raise ValueError(f"roots must be absolute folders, not {', '.join(relative)}")
    return roots


def _names(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _addresses(urls: list[str]) -> list[str]:
    return [str(parse(url)) for url in urls]


#: In the environment, with commas.
Names = Annotated[list[str], NoDecode, BeforeValidator(_names)]
Urls = Annotated[Names, AfterValidator(_addresses)]
Roots = Annotated[list[Path], NoDecode, BeforeValidator(_split), AfterValidator(_absolute)]


class SourceSettings(BaseSettings):
    """The hub's own variables (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_HOME`) are read by its client."""

    # An empty variable counts as unset: LAYERCUT_GLUE_DIR= would otherwise be the working folder.
    model_config = SettingsConfigDict(env_prefix="LAYERCUT_", env_ignore_empty=True, extra="ignore")

    glue_dir: Path | None = Field(default=None, description="GLUE folders (RTE/train.tsv …); without it, from the hub")
    model_roots: Roots = Field(default=[], description="`:`-separated folders that a model's path must lie under")
    data_roots: Roots = Field(default=[], description="`:`-separated folders that a dataset's path must lie under")
    inputs: Inputs | None = Field(default=None, exclude=True, description="of a runner: all that it may read")
    model_urls: Urls = Field(
        default=[], description="addresses (s3://, gs://, az://) that a model may lie below, with commas"
    )
    data_urls: Urls = Field(default=[], description="addresses that a dataset may lie below, with commas")
    fetched: dict[str, Fetched] = Field(
        default={}, exclude=True, description="data of uploads and object stores that is here, by its name in resolved"
    )
    hub_timeout_seconds: float = Field(default=5.0, gt=0, description="how long a request may wait for the hub")
    hub_hosts: Names = Field(default=[], description="hosts inside that the hub may send its client to, with commas")
    table_bytes: int = Field(default=TABLE_BYTES, ge=1, description="of a table or text of the user's own")
    max_model_bytes: int = Field(default=2 * 2**40, ge=1, description="of a model's weights, all files together")
    max_rows: int = Field(default=20_000_000, ge=1, description="to train on, asked for or found in the data")
