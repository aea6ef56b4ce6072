"""A typed client of a layercut service, for programs that wait (`Client`) and for those that await (`AsyncClient`).

    with Client("https://layercut.example", api_key="lc_…") as client:
        job = client.submit(model="google-bert/bert-base-uncased", task="sst2", prune={"drop": 4})
        for event in client.events(job.id):
            print(event.message)
        client.download(job.id, "smaller-bert")

docs/client.md has the rest.
"""

from __future__ import annotations

from layercut.client.async_client import AsyncClient
from layercut.client.errors import (
    ClientError,
    DamagedFile,
    InvalidAnswer,
    LayercutApiError,
    StudyTimeout,
    Unreachable,
    WaitTimeout,
)
from layercut.client.sync_client import Client

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "DamagedFile",
    "InvalidAnswer",
    "LayercutApiError",
    "StudyTimeout",
    "Unreachable",
    "WaitTimeout",
]
