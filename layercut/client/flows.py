"""All that either client can do."""

from __future__ import annotations

from layercut.client.calls import Calls
from layercut.client.downloading import Downloading
from layercut.client.retries import Patience
from layercut.client.studies import Studies
from layercut.client.uploading import Uploading
from layercut.client.watching import Watching


class Flows:
    """``retry_seconds``: how long what passes by itself is tried again."""

    def __init__(self, retry_seconds: float) -> None:
        patience = Patience(retry_seconds)
        self.calls = Calls(patience)
        self.watching = Watching(self.calls, patience)
        self.downloading = Downloading(self.calls, patience)
        self.uploading = Uploading(self.calls, patience)
        self.studies = Studies(self.calls, patience)
