"""What lies in object stores: objects by prefix, and bytes of one as it was when it was looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import obstore
from obstore.store import ObjectStore

from api_schemas.errors import LayercutError
from sources.facts import PICKLES
from sources.model_files import is_allowed
from sources.objects.addresses import Address
from sources.objects.faults import Asked, Changed, FaultOf, explained, missing
from sources.paths import What
from sources.stored_files import StoredFile, StoredFiles

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

#: Of objects below a prefix that are looked at; and files of a model: each is asked for on its own.
MOST_LISTED, MOST_FILES = 10_000, 1_200
#: What is handed on, and what is asked for at a time.
CHUNK_BYTES, PIECE_BYTES = 1 << 20, 64 << 20

#: Opens the bucket of an address without a key, with what the environment says.
OpenBucket = Callable[[str], ObjectStore]


class Buckets:
    """Safe to share between threads. ``waits``: whether a store that refuses is waited for, as one that is away.
    ``piece``: how many bytes are asked for at a time, for which the time of an answer is.
    """

    def __init__(
        self, open_bucket: OpenBucket, fault_of: FaultOf, *, waits: bool = False, piece: int = PIECE_BYTES
    ) -> None:
        self._open, self._fault_of, self._waits, self._piece = open_bucket, fault_of, waits, piece
        self._stores: dict[str, ObjectStore] = {}
        self._lock = threading.Lock()

    def model(self, address: Address, param: str) -> StoredFiles:
        """The files of a model below ``address``. Raises as ``explained``."""
        asked = Asked(address, "model", param, self._waits)
        listed = self._listed(asked)
        if not listed and self._one(asked) is not None:
            raise asked.fault("model_not_found", f"{address} is one object: give what config.json lies right below")
        if not listed:
            raise missing(asked)
        found = {name: file for name, file in listed.items() if is_allowed(name) or _is_pickle(name)}
        if len(found) > MOST_FILES:
            raise asked.fault("model_invalid", f"{address} has {len(found)} files of a model; {MOST_FILES} may be")
        return StoredFiles(str(address), found, partial(self.read, asked, found))

    def data(self, address: Address, param: str) -> StoredFiles:
        """The object at ``address``, or those right below it. Raises as ``explained``."""
        asked = Asked(address, "dataset", param, self._waits)
        if (one := self._one(asked)) is not None:
            above = Asked(address.above, "dataset", param, self._waits)
            files = {address.name: one}
            return StoredFiles(str(address.above), files, partial(self.read, above, files), alone=True)
        listed = self._listed(asked)
        if not listed:
            raise missing(asked)
        found = {name: file for name, file in listed.items() if "/" not in name}
        return StoredFiles(str(address), found, partial(self.read, asked, found))

    def pinned(self, address: Address, files: dict[str, StoredFile], *, what: What, param: str) -> StoredFiles:
        """``files`` that were found below ``address`` before; reading them raises as ``read``."""
        return StoredFiles(str(address), files, partial(self.read, Asked(address, what, param, self._waits), files))

    def read(self, asked: Asked, files: dict[str, StoredFile], name: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes ``start`` up to ``end`` of one of the pinned ``files`` below the address. Raises as ``explained``,
        also while they come: ``<what>_invalid`` where the object is another by now.
        """
        file, address = files[name], asked.address.child(name)
        with explained(Asked(address, asked.what, asked.param, asked.waits), self._fault_of):
            for first in range(start, end, self._piece):
                yield from self._range(address, file, first, min(first + self._piece, end))

    def _range(self, address: Address, file: StoredFile, start: int, end: int) -> Iterator[bytes]:
        if file.etag is None:
            raise ValueError("it tells no ETag, by which what is read would be known to be what was looked at")
        answer = obstore.get(self._store(address), address.key, options=_options(file, start, end))
        if answer.meta["size"] != file.bytes or answer.meta["e_tag"] != file.etag:
            raise Changed  # of a server that knows no If-Match
        yield from map(bytes, answer.stream(min_chunk_size=CHUNK_BYTES))

    def _one(self, asked: Asked) -> StoredFile | None:
        """The object of that very key; None where there is none."""
        if not asked.address.key:
            return None
        try:
            with explained(asked, self._fault_of):
                return _stored(obstore.head(self._store(asked.address), asked.address.key))
        except LayercutError as error:
            if error.code != f"{asked.what}_not_found":
                raise
            return None

    def _listed(self, asked: Asked) -> dict[str, StoredFile]:
        """Those below the address, by what their keys go on with; none where nothing is there."""
        key = asked.address.key
        with explained(asked, self._fault_of):
            batches = obstore.list(self._store(asked.address), key or None, chunk_size=1000)
            found = list(islice((meta for batch in batches for meta in batch), MOST_LISTED + 1))
        if len(found) > MOST_LISTED:
            text = f"{asked.address} has more than {MOST_LISTED} objects below it: give a longer prefix"
            raise asked.fault(f"{asked.what}_invalid", text)
        return {meta["path"].removeprefix(f"{key}/" if key else ""): _stored(meta) for meta in found}

    def _store(self, address: Address) -> ObjectStore:
        with self._lock:
            if address.root not in self._stores:
                self._stores[address.root] = self._open(address.root)
            return self._stores[address.root]


def _stored(meta: ObjectMeta) -> StoredFile:
    return StoredFile(meta["size"], etag=meta["e_tag"], version=meta["version"])


def _options(file: StoredFile, start: int, end: int) -> GetOptions:
    options: GetOptions = {"range": (start, end)}
    if file.etag is not None:
        options["if_match"] = file.etag
    if file.version is not None:
        options["version"] = file.version
    return options


def _is_pickle(name: str) -> bool:
    """Said in the refusal of a model that has no other weights."""
    return name.endswith(PICKLES) and "/" not in name
