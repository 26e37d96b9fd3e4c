"""A small stand-in for a server of Weights & Biases: as much of its API as wandb 0.31 and lrps use.

It keeps what it is sent and answers with what a server would, but checks nothing: types, rights and quotas are those of
the real one.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

ENTITY = "team"
VIEWER = {"id": "user", "entity": ENTITY, "username": "robot", "name": "robot", "email": "r@x.y", "admin": False}


@dataclass
class Run:
    """A run as the server has it."""

    project: str
    name: str
    values: dict[str, Any] = field(default_factory=dict)
    """What was said of it last: config, groupName, jobType, displayName, tags .."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows by their offset."""
    lines: dict[str, int] = field(default_factory=dict)
    """Lines of the other streams."""
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None
    used: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    """Ids of artifacts."""

    @property
    def config(self) -> dict[str, Any]:
        return {key: entry["value"] for key, entry in json.loads(self.values["config"]).items() if key != "_wandb"}


class WandbServer:
    """`with WandbServer() as server:` listens on a free port of this machine.

    on_news is called whenever a run was told something, before that is answered; it may call `close`.
    """

    def __init__(self, on_news: Callable[[WandbServer, Run], None] | None = None) -> None:
        self.runs: dict[str, Run] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []
        self.unknown: list[str] = []
        """Operations that it has no answer to."""
        self.keys: set[str] = set()
        self._on_news, self._lock, self._closed = on_news, threading.RLock(), False
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _QuietServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """No connection is taken or answered any more."""
        if not self._closed:
            self._closed = True
            threading.Thread(target=self._http.shutdown, daemon=True).start()
            self._http.server_close()

    def answer(self, method: str, path: str, body: bytes) -> Any:
        if self._closed:
            raise ConnectionAbortedError
        with self._lock:
            if path.startswith("/graphql"):
                sent = json.loads(body)
                variables = sent.get("variables") or {}
                return self._graphql(sent["query"], variables.get("input", variables))
            if stream := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
                return self._stream(self.runs[stream[3]], json.loads(body))
            if method == "PUT" and (artifact := re.fullmatch(r"/artifact/([^/]+)", path)):
                self.artifacts[artifact[1]]["manifest"] = json.loads(body)
            return {}

    def _stream(self, run: Run, sent: dict[str, Any]) -> dict[str, Any]:
        for name, part in sent.get("files", {}).items():
            if name == "wandb-history.jsonl":
                run.history[part["offset"] :] = [json.loads(line) for line in part["content"]]
            elif name == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
            else:
                run.lines[name] = part["offset"] + len(part["content"])
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]
        self._tell(run)
        return {}

    def _tell(self, run: Run) -> None:
        if self._on_news is not None:
            self._on_news(self, run)

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        operation = (re.search(r"(?:query|mutation)\s+(\w+)", query) or [query, query])[1]
        try:
            return {"data": getattr(self, f"_{operation}")(variables)}
        except (AttributeError, KeyError, ValueError) as error:
            self.unknown.append(f"{operation}: {error!r}")
            return {"errors": [{"message": f"the stand-in has no answer: {error!r}"}]}

    # Runs

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": VIEWER}

    def _OrganizationCoreWeaveOrganizationID(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"entity": None}

    def _RunResumeStatus(self, sent: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(sent["name"])
        bucket = run and {
            **_bucket(run),
            "summaryMetrics": json.dumps(run.summary),
            "historyLineCount": len(run.history),
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsLineCount": run.lines.get("wandb-events.jsonl", 0),
            "eventsTail": "[]",
            "logLineCount": run.lines.get("output.log", 0),
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {"id": "p", "name": sent["project"], "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}}

    def _UpsertBucket(self, sent: dict[str, Any]) -> dict[str, Any]:
        inserted = sent["name"] not in self.runs
        run = self.runs.setdefault(sent["name"], Run(sent["project"], sent["name"]))
        run.values.update({key: value for key, value in sent.items() if value is not None})
        self._tell(run)
        return {"upsertBucket": {"bucket": _bucket(run), "inserted": inserted}}

    def _CreateRunFiles(self, sent: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/file"} for name in sent["files"]]
        return {"createRunFiles": {"runID": sent["run"], "uploadHeaders": [], "files": files}}

    def _GetDefaultEntity(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": VIEWER}

    def _Run(self, sent: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.get(sent["name"])
        found = run and {**_bucket(run), "projectId": "1", "state": "finished", "user": VIEWER}
        return {"project": {"run": found}}

    # Artifacts

    def _ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _ArtifactType(self, sent: dict[str, Any]) -> dict[str, Any]:
        found = self._named(sent["name"])
        return {"project": {"artifact": found and {"artifactType": {"name": found["type"]}}}}

    def _CreateArtifact(self, sent: dict[str, Any]) -> dict[str, Any]:
        (collection,) = sent.get("artifactCollectionNames") or [sent["artifactCollectionName"]]
        for known in self.artifacts.values():
            if (known["collection"], known["digest"]) == (collection, sent["digest"]):
                break
        else:
            versions = sum(known["collection"] == collection for known in self.artifacts.values())
            known = {"id": f"art-{len(self.artifacts)}", "version": versions, "state": "PENDING", "manifest": None}
            known |= {"collection": collection, "type": sent["artifactTypeName"], "digest": sent["digest"]}
            known |= {"metadata": sent["metadata"], "aliases": [alias["alias"] for alias in sent["aliases"]]}
            self.artifacts[known["id"]] = known
        if known["id"] not in (logged := self.runs[sent["runName"]].logged):
            logged.append(known["id"])
        sequence = {"id": collection, "latestArtifact": None}
        return {"createArtifact": {"artifact": {**known, "artifactSequence": sequence}}}

    def _CreateArtifactManifest(self, sent: dict[str, Any]) -> dict[str, Any]:
        artifact = sent["artifactID"]
        file = {"id": "f", "name": "m", "displayName": "m", "uploadUrl": f"{self.url}/artifact/{artifact}"}
        manifest = {"id": f"m-{artifact}", "file": {**file, "uploadHeaders": []}}
        return {"createArtifactManifest": {"artifactManifest": manifest}}

    def _CommitArtifact(self, sent: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[sent["artifactID"]]["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": sent["artifactID"], "digest": "d"}}}

    def _UseArtifact(self, sent: dict[str, Any]) -> dict[str, Any]:
        self.runs[sent["runName"]].used.append(sent["artifactID"])
        return {"useArtifact": {"artifact": {"id": sent["artifactID"]}}}

    def _ArtifactByID(self, sent: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": _artifact(self.artifacts[sent["id"]])}

    def _ArtifactMembershipByName(self, sent: dict[str, Any]) -> dict[str, Any]:
        found = self._named(sent["name"])
        return {"project": {"artifactCollectionMembership": found and _membership(found)}}

    def _named(self, name: str) -> dict[str, Any] | None:
        """The newest artifact of `collection:alias`, or of `collection`."""
        collection, _, alias = name.partition(":")
        same = (known for known in self.artifacts.values() if known["collection"] == collection)
        return max((k for k in same if not alias or alias in k["aliases"]), key=lambda k: k["version"], default=None)

    def _RunOutputArtifacts(self, sent: dict[str, Any]) -> dict[str, Any]:
        return self._page(self.runs[sent["run"]].logged)

    def _RunInputArtifacts(self, sent: dict[str, Any]) -> dict[str, Any]:
        return self._page(self.runs[sent["run"]].used)

    def _page(self, ids: list[str]) -> dict[str, Any]:
        edges = [{"node": _artifact(self.artifacts[each])} for each in ids]
        info = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        return {"project": {"run": {"artifacts": {"totalCount": len(edges), "pageInfo": info, "edges": edges}}}}

    def _UpsertView2(self, sent: dict[str, Any]) -> dict[str, Any]:
        self.views.append({**sent, "spec": json.loads(sent["spec"])})
        return {"upsertView": {"view": {"id": f"view-{len(self.views)}", "name": sent["name"]}, "inserted": True}}


def _collection(known: dict[str, Any]) -> dict[str, Any]:
    project = {"id": "p", "internalId": "1", "name": "lrps", "entity": {"name": ENTITY}}
    return {"__typename": "ArtifactSequence", "name": known["collection"], "project": project}


def _aliases(known: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"__typename": "ArtifactAlias", "id": alias, "alias": alias} for alias in known["aliases"]]


def _artifact(known: dict[str, Any]) -> dict[str, Any]:
    of = _collection(known)
    return {
        "__typename": "Artifact",
        "artifactSequence": _collection(known),
        "versionIndex": known["version"],
        "artifactType": {"name": known["type"]},
        "ttlDurationSeconds": -1,
        "ttlIsInherited": True,
        "tags": [],
        "size": 0,
        "digestAlgorithm": "MANIFEST_MD5",
        "fileCount": 0,
        "createdAt": "2026-01-01T00:00:00Z",
        "aliases": [{**alias, "artifactCollection": of} for alias in _aliases(known)],
        **{key: known[key] for key in ("id", "metadata", "state", "digest")},
        **dict.fromkeys(("description", "historyStep", "commitHash", "updatedAt")),
    }


def _membership(known: dict[str, Any]) -> dict[str, Any]:
    return {
        "__typename": "ArtifactCollectionMembership",
        "id": f"membership-{known['id']}",
        "versionIndex": known["version"],
        "createdAt": "2026-01-01T00:00:00Z",
        "aliases": _aliases(known),
        "artifactCollection": _collection(known),
        "artifact": _artifact(known),
    }


def _bucket(run: Run) -> dict[str, Any]:
    project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": ENTITY}}
    return {
        "id": f"id-{run.name}",
        "name": run.name,
        "displayName": run.values.get("displayName"),
        "config": run.values.get("config", "{}"),
        "tags": run.values.get("tags", []),
        "project": project,
        "historyLineCount": len(run.history),
    }


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that is gone is no news."""


class _Handler(BaseHTTPRequestHandler):
    owner: WandbServer
    protocol_version = "HTTP/1.1"

    def _reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer = json.dumps(self.owner.answer(self.command, self.path, body)).encode()
        except ConnectionAbortedError:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _reply

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""
