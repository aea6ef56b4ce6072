"""One revision of a repository: the files of an artifact, under the name that the hash of their list gives them."""

from __future__ import annotations

from functools import cached_property

from api_schemas.cards import CardFacts
from api_schemas.errors import LayercutError
from service.hub.refusals import HubRefusal
from service.published import Published
from sources.front_matter import Words, words_of
from sources.model_card import CARD, START
from store.manifests import StoredFile

OWNER = "jobs"
#: The one branch.
MAIN = "main"
#: Of a commit, in hexadecimal digits; a sha256 has more.
COMMIT_DIGITS = 40
#: What is told of a card.
CARD_FIELDS = frozenset({*CardFacts.model_fields, "library_name", "title"})


class Repository:
    """What the job ``job_id`` delivered, as it is at ``revision``. Raises ``revision_not_found`` for one that it has
    not: it has ``main``, the commit, and the sha256 that begins with the commit. Files are in the order of their names.
    """

    def __init__(self, job_id: str, published: Published, revision: str = MAIN) -> None:
        self.id = f"{OWNER}/{job_id}"
        self.commit = published.sha256[:COMMIT_DIGITS]
        self.published = published
        known = (MAIN, self.commit, published.sha256)
        if revision not in known:
            raise LayercutError(
                "revision_not_found", f"{self.id} has no revision {revision[:80]!r}; it has {', '.join(known)}"
            )
        self.is_fixed = revision != MAIN

    @cached_property
    def files(self) -> dict[str, StoredFile]:
        """By their names."""
        return {file.name: file for file in sorted(self.published.manifest.contents, key=lambda file: file.name)}

    @property
    def title(self) -> str | None:
        """What the job called it, which is no address."""
        archive = self.published.manifest.archive
        return None if archive is None or isinstance(archive, str) else archive.top

    def find(self, name: str) -> StoredFile:
        """The file of that name. Raises ``file_not_found``, which tells the commit: a client remembers that this one
        has no such file.
        """
        file = self.files.get(name)
        if file is None:
            raise self.missing(name)
        return file

    def missing(self, path: str) -> HubRefusal:
        """The error where the repository has nothing at ``path``."""
        error = LayercutError("file_not_found", f"{self.id} has no {path[:200]!r}")
        return HubRefusal(error, **{"X-Repo-Commit": self.commit})

    def card(self) -> dict[str, Words]:
        """What the card says in a word, or in lists of words."""
        file = self.files.get(CARD)
        return {} if file is None else words_of(self.published.start(file, START), CARD_FIELDS)
