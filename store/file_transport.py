"""kombu's filesystem transport, safe for several processes that come and go.

Kombu's own lets a reader see a message that is half written, takes a message by moving it to the temporary folder
(a copy, and so no claim, where that is another disk), and stops when somebody deletes its folders.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from queue import Empty
from time import monotonic_ns
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads


class Channel(filesystem.Channel):
    """A message is one file: written under a hidden name and renamed, taken by renaming it again."""

    @property
    def data_folder_in(self) -> Path:
        return self._folder("data_folder_in")

    @property
    def data_folder_out(self) -> Path:
        return self._folder("data_folder_out")

    @property
    def control_folder(self) -> Path:
        return self._folder("control_folder")

    def _folder(self, option: str) -> Path:
        folder = Path(self.transport_options[option])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:  # type: ignore[override]
        path = self.data_folder_out / f"{monotonic_ns():020}_{uuid.uuid4()}.{queue}.msg"
        hidden = path.with_suffix(".new")
        hidden.write_text(dumps(payload))  # type: ignore[no-untyped-call]
        hidden.rename(path)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for path in sorted(self.data_folder_in.iterdir()):
            if path.name.partition(".")[2] != f"{queue}.msg":
                continue
            taken = path.with_suffix(f".{uuid.uuid4()}")
            try:
                path.rename(taken)
            except FileNotFoundError:
                continue  # another reader was faster
            payload = loads(taken.read_text())  # type: ignore[no-untyped-call]
            taken.unlink()
            return payload
        raise Empty


class Transport(filesystem.Transport):
    Channel = Channel
