"""A hub that can be pushed to: repositories, branches, files by Git LFS at signed addresses, commits, tokens' rights.

    with PushableHub() as hub:
        hub.users["hf_x"] = user("somebody", orgs={"team": "write"})
        ... HF_TOKEN=hf_x
        hub.commits  # (repository, branch, what it says, names of files it adds, names that it deletes)

As the real one: who may not write is answered 403; a file's address is for one object, and for whoever has it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from email.message import Message
from typing import Any, NamedTuple

import pytest

from tests.support.hub_server import Answer, HubServer, Repo

#: Of tests in which files are sent: the hub's client does so in a way that its own library calls old.
SENDS_FILES = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

#: A larger file goes to LFS, as one that is no text.
REGULAR_BYTES = 10 * 2**20

_TREE = re.compile(r"^/api/models/([^/]+/[^/]+)/tree/([^/]+)$")


class Commit(NamedTuple):
    repo: str
    branch: str
    summary: str
    added: list[str]
    deleted: list[str]


class Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", **more: str) -> None:
        super().__init__(status)
        body = json.dumps({"error": message or code, **more}).encode()
        self.answer: Answer = (status, {"X-Error-Code": code, "X-Error-Message": message or code}, body)


class PushableHub(HubServer):
    """``users`` are by their tokens. ``part_bytes``: of a file that is sent in parts; None where none is."""

    def __init__(self) -> None:
        super().__init__()
        self.clear()
        self._routes: list[tuple[re.Pattern[str], Callable[..., Any]]] = [
            (re.compile(r"/api/validate-yaml"), lambda *_: {"errors": [], "warnings": []}),
            (re.compile(r"/api/repos/create"), self._create),
            (re.compile(r"/api/models/([^/]+/[^/]+)/branch/(.+)"), self._branch),
            (re.compile(r"/api/models/([^/]+/[^/]+)/preupload/(.+)"), self._preupload),
            (re.compile(r"/api/models/([^/]+/[^/]+)/commit/(.+)"), self._commit),
            (re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch"), self._batch),
            (re.compile(r"/([^/]+/[^/]+)\.git/info/lfs/verify"), self._verify),
        ]

    def clear(self) -> None:
        """As it was made."""
        for known in (self.requests, self.tricks, self._repos, self._commits):
            known.clear()
        self.users: dict[str, dict[str, Any]] = {}
        self.commits: list[Commit] = []
        self.objects: dict[str, bytes] = {}
        self.ignored: set[str] = set()  # names that a .gitignore leaves out
        self.part_bytes: int | None = None
        self.store_url = self.url
        self._parts: dict[tuple[str, int], bytes] = {}
        self._heads: dict[tuple[str, str], Repo] = {}

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        """What is on the branch, but for what each repository begins with."""
        return {name: body for name, body in self._heads[repo, branch].files.items() if name != ".gitattributes"}

    def make(self, repo: str, *, private: bool = False, **files: bytes) -> None:
        """A repository with a first commit."""
        self._set(repo, "main", {".gitattributes": b"", **files}, private)

    def answer(self, path: str, token: str | None) -> Answer:
        try:
            if path == "/api/whoami-v2":
                return _json(self._user(token))
            if match := _TREE.match(path):
                return _json([_entry(*file) for file in self._at(*match.groups()).files.items()])
        except Refused as refused:
            return refused.answer
        status, headers, body = super().answer(path, token)
        # To whoever has a token it tells a repository that is not there from one that may not be seen.
        return (404 if status == 401 and token else status), headers, body

    def write(self, path: str, query: dict[str, str], headers: Message, body: bytes) -> Answer:
        try:
            if path.startswith("/lfs/"):
                return self._store(path, query, headers, body)
            for pattern, route in self._routes:
                if match := pattern.fullmatch(path):
                    lines = [json.loads(line) for line in body.splitlines() if line.strip()]
                    return _json(route(headers["Authorization"], lines, *match.groups()))
        except Refused as refused:
            return refused.answer
        return Refused(404).answer

    def _user(self, authorization: str | None) -> dict[str, Any]:
        user = self.users.get((authorization or "").removeprefix("Bearer "))
        if user is None:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return user

    def _check_may_write(self, authorization: str | None, repo: str) -> None:
        user, owner = self._user(authorization), repo.partition("/")[0]
        roles = {user["name"]: "admin", **{one["name"]: one["roleInOrg"] for one in user["orgs"]}}
        token = user["auth"]["accessToken"]["role"]
        if roles.get(owner) in (None, "read") or token == "read":
            raise Refused(403, "", f"You don't have the rights to write to {repo}")

    def _create(self, authorization: str, lines: list[Any]) -> dict[str, str]:
        asked = lines[0]
        repo = f"{asked['organization']}/{asked['name']}"
        self._check_may_write(authorization, repo)
        if (repo, "main") in self._heads:
            raise Refused(409, "", "You already created this model repo", url=f"{self.url}/{repo}")
        self.make(repo, private=asked.get("private", asked.get("visibility") == "private"))
        return {"url": f"{self.url}/{repo}", "name": repo, "id": repo}

    def _branch(self, authorization: str, lines: list[Any], repo: str, branch: str) -> None:
        self._check_may_write(authorization, repo)
        if (repo, branch) in self._heads:
            raise Refused(409, "", f"Reference already exists: refs/heads/{branch}")
        self._set(repo, branch, dict(self._at(repo, "main").files))

    def _preupload(self, authorization: str, lines: list[Any], repo: str, branch: str) -> dict[str, Any]:
        self._check_may_write(authorization, repo)
        known = self._at(repo, branch).files
        return {"files": [self._mode(file, known.get(file["path"])) for file in lines[0]["files"]]}

    def _mode(self, file: dict[str, Any], known: bytes | None) -> dict[str, Any]:
        mode = "lfs" if file["size"] > REGULAR_BYTES or file["path"].endswith(".safetensors") else "regular"
        oid = None if known is None else _sha256(known) if mode == "lfs" else _git_sha1(known)
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": file["path"] in self.ignored, "oid": oid}

    def _batch(self, authorization: str, lines: list[Any], repo: str) -> dict[str, Any]:
        self._check_may_write(authorization, repo)
        return {"transfer": "basic", "objects": [self._actions(repo, one) for one in lines[0]["objects"]]}

    def _actions(self, repo: str, wanted: dict[str, Any]) -> dict[str, Any]:
        oid, size = wanted["oid"], wanted["size"]
        if oid in self.objects:
            return wanted
        upload: dict[str, Any] = {"href": self._signed(f"/lfs/{oid}"), "header": {}}
        if self.part_bytes:
            parts = range(1, -(-size // self.part_bytes) + 1)
            upload["header"] = {str(part): self._signed(f"/lfs/{oid}/{part}") for part in parts}
            upload["header"]["chunk_size"] = str(self.part_bytes)
        return {**wanted, "actions": {"upload": upload, "verify": {"href": f"{self.url}/{repo}.git/info/lfs/verify"}}}

    def _signed(self, path: str) -> str:
        return f"{self.store_url}{path}?X-Signature={_signature(path)}"

    def _store(self, path: str, query: dict[str, str], headers: Message, body: bytes) -> Answer:
        if not hmac.compare_digest(query.get("X-Signature", ""), _signature(path)):
            raise Refused(403, "", "SignatureDoesNotMatch")
        _, _, oid, *part = path.split("/")
        if part:
            self._parts[oid, int(part[0])] = body
            return 200, {"ETag": f'"{_sha256(body)}"'}, b""
        whole = body
        if self.part_bytes:
            etags = {one["partNumber"]: one["etag"].strip('"') for one in json.loads(body)["parts"]}
            whole = b"".join(self._parts.pop((oid, number)) for number in sorted(etags))
        if _sha256(whole) != oid:
            raise Refused(400, "", "BadDigest")
        self.objects[oid] = whole
        return 200, {"ETag": f'"{oid}"'}, b""

    def _verify(self, authorization: str, lines: list[Any], repo: str) -> dict[str, Any]:
        if len(self.objects.get(lines[0]["oid"], b"")) != lines[0]["size"]:
            raise Refused(404, "", "the object has not come")
        return {}

    def _commit(self, authorization: str, lines: list[Any], repo: str, branch: str) -> dict[str, Any]:
        self._check_may_write(authorization, repo)
        head = self._at(repo, branch)
        header, files, deleted = lines[0]["value"], dict(head.files), []
        if header.get("parentCommit", head.commit) != head.commit:
            raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
        added = [line["value"] for line in lines[1:] if line["key"] in ("file", "lfsFile")]
        for line in lines[1:]:
            if line["key"] == "deletedFile":
                del files[line["value"]["path"]]
                deleted.append(line["value"]["path"])
        files.update({file["path"]: self._content(file) for file in added})
        made = self._set(repo, branch, files)
        self.commits.append(Commit(repo, branch, header["summary"], sorted(file["path"] for file in added), deleted))
        url = f"{self.url}/{repo}/commit/{made.commit}"
        return {"success": True, "commitOid": made.commit, "commitUrl": url, "hookOutput": ""}

    def _content(self, file: dict[str, Any]) -> bytes:
        if "content" in file:
            return base64.b64decode(file["content"])
        if file["oid"] not in self.objects:
            raise Refused(400, "", f"{file['path']}: the LFS object was not uploaded")
        return self.objects[file["oid"]]

    def _at(self, repo: str, revision: str) -> Repo:
        found = self._heads.get((repo, revision)) or self._commits.get(("models", repo, revision))
        if found is None:
            known = any(name == repo for name, _ in self._heads)
            raise Refused(404, "RevisionNotFound" if known else "RepoNotFound")
        return found

    def _set(self, repo: str, branch: str, files: dict[str, bytes], private: bool | None = None) -> Repo:
        old = self._heads.get((repo, "main"))
        made = Repo(files, private=old.private if old is not None else bool(private))
        self._heads[repo, branch] = self._commits["models", repo, made.commit] = made
        # As the server that is read from has them.
        self._commits["models", repo, branch] = made
        if branch == "main":
            self._repos["models", repo] = made
        return made


def user(name: str, role: str = "write", orgs: dict[str, str] | None = None, **rights: Any) -> dict[str, Any]:
    """As ``whoami`` tells of one; ``role`` is the token's, ``rights`` those of one that is fine-grained."""
    token = {"displayName": "ci", "role": role, **({"fineGrained": rights} if rights else {})}
    organizations = [{"type": "org", "name": org, "roleInOrg": what} for org, what in (orgs or {}).items()]
    return {"type": "user", "name": name, "orgs": organizations, "auth": {"type": "access_token", "accessToken": token}}


def _json(value: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _entry(path: str, body: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "size": len(body), "oid": _git_sha1(body)}


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _git_sha1(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%b" % (len(body), body), usedforsecurity=False).hexdigest()


def _signature(path: str) -> str:
    return hmac.new(b"of the store behind the hub", path.encode(), hashlib.sha256).hexdigest()
