"""What all that is done with uploads needs: their rows, the store of their bytes, and how much is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from api_schemas.errors import LayercutError
from service.settings import GatewaySettings
from store.artifacts import ArtifactStore
from store.audit import Actor
from store.disk_space import check_room, free_bytes, local_folders
from store.stored_uploads import UploadStore


@dataclass(frozen=True)
class Stores:
    """``artifacts`` has all the time that large files need."""

    uploads: UploadStore
    artifacts: ArtifactStore
    settings: GatewaySettings

    def of(self, actor: Actor) -> Stores:
        """The same, for one tenant."""
        return replace(self, uploads=self.uploads.of(actor))

    @property
    def folders(self) -> list[Path]:
        """Those that are written to on disks of this machine."""
        return local_folders(self.settings.database_url, self.settings.artifacts_url)

    def check_room(self, more: int = 0) -> None:
        """Raise ``storage_full`` where a disk of ours has no room for ``more`` bytes beside what is to be kept free."""
        least, folders = self.settings.min_free_bytes, self.folders
        check_room(folders, least)
        free = min(map(free_bytes, folders), default=least + more) - least
        if free < more:
            raise LayercutError(
                "storage_full", f"a disk of the service has room for {free} bytes, and this needs {more}"
            )
