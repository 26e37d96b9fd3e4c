"""A stand-in for the Hugging Face Hub: the part of its HTTP API that publishing uses, with repositories in memory."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_" + "x" * 34


@dataclass
class Repository:
    """Commits are the files by name; branches and tags name commits."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    log: dict[str, list[str]] = field(default_factory=dict)
    """Branch -> its commits, oldest first."""
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{branch} {len(self.commits)}".encode()).hexdigest()
        self.commits[oid] = files
        self.log.setdefault(branch, []).append(oid)
        return oid

    def at(self, revision: str) -> str | None:
        """Return the commit of a branch, a tag or a commit."""
        if revision in self.log:
            return self.log[revision][-1]
        return self.tags.get(revision, revision if revision in self.commits else None)

    def files(self, revision: str) -> dict[str, bytes]:
        commit = self.at(revision)
        return {} if commit is None else self.commits[commit]


@dataclass
class PretendHub:
    """Server with its repositories. uploads: SHA-256 of large files that were sent, in their order."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    url: str = ""
    refuses_upload: int = -1
    """Number of the upload that fails; -1 for none."""
    refuses_commit: bool = False

    def create(self, name: str, private: bool = False) -> Repository:
        repository = self.repositories[name] = Repository(private)
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"})
        return repository


@contextmanager
def pretend_hub() -> Iterator[PretendHub]:
    """Yield a running stand-in, which is stopped after the block."""
    hub = PretendHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: PretendHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self._read(body=True)

    def do_HEAD(self) -> None:
        self._read(body=False)

    def do_PUT(self) -> None:
        content = self._body()
        oid = self.path.rpartition("/")[2]
        if len(self.hub.uploads) == self.hub.refuses_upload:
            self.hub.refuses_upload = -1
            return self._answer(400, {"error": "storage is away"})
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.uploads.append(oid)
        self.hub.large[oid] = content
        return self._answer(200, {})

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self._body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"error": "Invalid username or password."})
        if path == "/api/validate-yaml":
            front = json.loads(body)["content"].split("---")[1]
            return self._answer(200, {"errors": [] if yaml.safe_load(front) else [{"message": "no metadata"}]})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._answer(200, self._batch(json.loads(body)))
        owner, name, verb, revision = path.removeprefix("/api/models/").split("/", 3)
        repository = self.hub.repositories[f"{owner}/{name}"]
        if verb == "preupload":
            return self._answer(200, {"files": [self._mode(each) for each in json.loads(body)["files"]]})
        if verb == "commit":
            return self._commit(repository, f"{owner}/{name}", revision, body)
        if verb == "branch":
            if revision in repository.log:
                return self._answer(409, {"error": "Reference already exists"})
            start = json.loads(body).get("startingPoint", "main")
            repository.log[revision] = [str(repository.at(start))]
            return self._answer(200, {})
        assert verb == "tag", path
        facts = json.loads(body)
        repository.tags[facts["tag"]] = str(repository.at(revision))
        return self._answer(200, {})

    def do_DELETE(self) -> None:
        owner, name, verb, tag = unquote(self.path).removeprefix("/api/models/").split("/", 3)
        assert verb == "tag"
        del self.hub.repositories[f"{owner}/{name}"].tags[tag]
        self._answer(200, {})

    def _create(self, facts: dict[str, Any]) -> None:
        name = f"{facts.get('organization') or 'me'}/{facts['name']}"
        if name in self.hub.repositories:
            return self._answer(409, {"url": f"{self.hub.url}/{name}"})
        private = facts.get("private") is True or facts.get("visibility") == "private"
        self.hub.create(name, private)
        return self._answer(200, {"url": f"{self.hub.url}/{name}"})

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        large = str(file["path"]).endswith(".safetensors")
        return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": None}

    def _batch(self, wanted: dict[str, Any]) -> dict[str, Any]:
        objects = []
        for each in wanted["objects"]:
            upload = {"href": f"{self.hub.url}/storage/{each['oid']}", "header": {}}
            missing = {} if each["oid"] in self.hub.large else {"actions": {"upload": upload}}
            objects.append({"oid": each["oid"], "size": each["size"], **missing})
        return {"transfer": "basic", "objects": objects}

    def _commit(self, repository: Repository, name: str, branch: str, body: bytes) -> None:
        if self.hub.refuses_commit:
            return self._answer(403, {"error": "no write access"})
        files = dict(repository.files(branch))
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = repository.commit(branch, files)
        answer = {"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid, "hookOutput": ""}
        return self._answer(200, answer)

    def _read(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        parts = path.removeprefix("/api/models/").strip("/").split("/")
        repository = self.hub.repositories.get("/".join(parts[:2]))
        if repository is None:
            return self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}, body)
        if not path.startswith("/api/"):
            return self._file(repository, parts[3], parts[4], body)
        verb, revision = (*parts[2:], "", "")[:2]
        if verb == "refs":
            refs = {
                kind: [
                    {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": repository.at(name)} for name in names
                ]
                for kind, names in (("branches", repository.log), ("tags", repository.tags))
            }
            return self._answer(200, {**refs, "converts": []}, body=body)
        if verb == "commits":
            log = [
                {"id": oid, "authors": [], "date": "2026-01-01T00:00:00.000Z", "title": "", "message": ""}
                for oid in reversed(repository.log[revision])
            ]
            return self._answer(200, log, body=body)
        if verb == "tree":
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in repository.files(revision).items()
            ]
            return self._answer(200, tree, body=body)
        return self._answer(200, {"id": "/".join(parts[:2]), "sha": repository.at(revision or "main")}, body=body)

    def _file(self, repository: Repository, revision: str, name: str, body: bool) -> None:
        files, commit = repository.files(revision), str(repository.at(revision))
        if name not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            return self._answer(404, {"error": "Entry not found"}, headers, body)
        etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
        return self._send(200, files[name], {"ETag": etag, "X-Repo-Commit": commit}, body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, value: Any, headers: dict[str, str] | None = None, body: bool = True) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})}, body)

    def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)
