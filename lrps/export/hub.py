"""A model repository of the Hugging Face Hub, through huggingface_hub: its revisions, and commits of whole directories.

The token is that of `hf auth login` or of the environment variable HF_TOKEN, HF_ENDPOINT names another server; both
belong to huggingface_hub, which is imported on first use. Must not import torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrps.base.addresses import conceal_key
from lrps.base.errors import ConfigError, TransferError
from lrps.store.layout import RELEASE_FACTS

_CONTINUE = "run the same command again to continue"
_OF_THE_HUB = {".gitattributes", "README.md", "LICENSE"}
"""Files that a repository has from the start, or that its owner adds on the web page: they are replaced."""


class Hub:
    """One model repository. Every method raises TransferError if the server refuses or cannot be reached."""

    def __init__(self, repo: str) -> None:
        """repo: `owner/name`. Raises ConfigError for another form."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        try:
            validate_repo_id(repo)
        except HFValidationError as error:
            raise ConfigError(f"--repo {repo}: {error}") from None
        self.repo, self._api = repo, HfApi(library_name="lrps")

    def exists(self) -> bool:
        """Return whether the repository exists."""
        with _refusals(self.repo):
            return self._api.repo_exists(self.repo)

    def create(self, private: bool) -> None:
        """Create the repository unless it exists; one that exists keeps its visibility."""
        with _refusals(self.repo):
            self._api.create_repo(self.repo, private=private, exist_ok=True)

    def revisions(self) -> dict[str, str]:
        """Return branch or tag -> commit."""
        with _refusals(self.repo):
            refs = self._api.list_repo_refs(self.repo)
            return {each.name: each.target_commit for each in (*refs.branches, *refs.tags)}

    def facts(self, revision: str, *, any_files: bool = False) -> bytes | None:
        """Return the facts that `lrps export` writes beside a model, of a revision; None for a revision without files.

        any_files: whether empty facts are returned for files that `lrps publish` did not put there; without it they
        are a ConfigError.
        """
        with _refusals(self.repo):
            names = set(self._api.list_repo_files(self.repo, revision=revision))
            if RELEASE_FACTS in names:
                with tempfile.TemporaryDirectory() as directory:
                    file = self._api.hf_hub_download(self.repo, RELEASE_FACTS, revision=revision, local_dir=directory)
                    return Path(file).read_bytes()
        if names - _OF_THE_HUB and not any_files:
            raise ConfigError(
                f"{self.repo} has files at {revision} that `lrps publish` did not put there, such as "
                f"{min(names - _OF_THE_HUB)}; give another --repo, or --force to replace them"
            )
        return b"" if names - _OF_THE_HUB else None

    def ensure_branch(self, branch: str) -> None:
        """Create a branch unless it exists. It starts from the first commit, which has no model."""
        with _refusals(self.repo):
            first = self._api.list_repo_commits(self.repo)[-1].commit_id
            self._api.create_branch(self.repo, branch=branch, revision=first, exist_ok=True)

    def commit(self, directory: Path, branch: str, message: str) -> str:
        """Make the files of a directory the content of a branch, in one commit; return the commit.

        Files that the server has already are not uploaded again.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        files = {path.name: path for path in sorted(directory.iterdir())}
        with _refusals(self.repo):
            there = set(self._api.list_repo_files(self.repo, revision=branch)) - {".gitattributes"}
            removed = [CommitOperationDelete(name) for name in sorted(there - files.keys())]
            added = [CommitOperationAdd(name, path) for name, path in files.items()]
            return self._api.create_commit(self.repo, [*removed, *added], commit_message=message, revision=branch).oid

    def tag(self, name: str, commit: str) -> None:
        """Give a commit a tag; one of that name is moved."""
        with _refusals(self.repo):
            if name in {each.name for each in self._api.list_repo_refs(self.repo).tags}:
                self._api.delete_tag(self.repo, tag=name)
            self._api.create_tag(self.repo, tag=name, revision=commit)


@contextmanager
def _refusals(repo: str) -> Iterator[None]:
    """Turn the errors of huggingface_hub into TransferErrors that say how to continue."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    # Those of the HTTP library, whichever it is, and of files.
    of_transport: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, RuntimeError)
    try:
        yield
    except LocalTokenNotFoundError:
        raise TransferError("no token of the Hub: run `hf auth login`, or set HF_TOKEN") from None
    except of_transport as error:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        if status in (401, 403):
            raise TransferError(
                f"{repo}: the Hub refuses access (HTTP {status}); run `hf auth login` with a token that may write "
                "there, or set HF_TOKEN"
            ) from None
        what = "cannot be reached" if status is None else f"answers with HTTP {status}"
        reason = conceal_key(_first_line(error), get_token())
        raise TransferError(f"{repo}: the Hub {what} ({reason}); {_CONTINUE}") from None


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}".splitlines()[0]
