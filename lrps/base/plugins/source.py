"""Source files of plug-ins: how a file is executed, what identifies its code, and where its errors are."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lrps.base.errors import ConfigError, LrpsError


@dataclass(frozen=True)
class Source:
    """The source file of a plug-in, as it was executed by this process."""

    file: Path
    sha256: str
    """SHA-256 of the bytes of the file."""
    version: str | None = None
    """Version of the distribution, or `__version__` of the file; None if it has none."""
    is_named_in_config: bool = False
    """Whether the file is named under `plugins` in a config: every process that loads the config executes it."""

    @property
    def words(self) -> str:
        """Version and hash as a message shows them."""
        return code_words(self.version, self.sha256)

    def to_json(self) -> dict[str, Any]:
        """Return what a path.json records of the source: never where the file is."""
        return {"version": self.version, "sha256": self.sha256}


def code_words(version: str | None, sha256: str) -> str:
    """Return a version and the hash of a file as a message shows them."""
    return f"{'no version' if version is None else f'version {version}'}, SHA-256 {sha256}"


_EXECUTED: ContextVar[Source | None] = ContextVar("lrps_plugin_source", default=None)
"""Source whose code is being executed: everything that registers itself meanwhile belongs to it."""
_FILES: dict[Path, str] = {}
"""Files that this process has executed, with the SHA-256 of what was executed."""


def source_being_executed() -> Source | None:
    """Return the source that registers its plug-ins now; None outside of one."""
    return _EXECUTED.get()


def source_of_module(name: str, version: str | None = None) -> Source:
    """Return the source of a module. Raises ConfigError for one that has no file, such as a cell of a notebook."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        raise ConfigError(
            f"a plug-in is defined in {name}, which is no file; write it to a file and name that under `plugins` in "
            "the config, so that every training process finds the same code"
        )
    version = version or _version_of(vars(module))
    return Source(Path(file), hashlib.sha256(Path(file).read_bytes()).hexdigest(), version)


@contextmanager
def registering(source: Source) -> Iterator[None]:
    """Within the context, let what registers itself belong to a source."""
    token = _EXECUTED.set(source)
    try:
        yield
    finally:
        _EXECUTED.reset(token)


def execute_file(file: Path) -> None:
    """Execute a Python file once, so that it registers its plug-ins.

    Raises ConfigError with file and line if it cannot be read or fails, and if it has changed since this process has
    executed it: objects of the process may still use the former code.
    """
    file = file.absolute()
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot read the plug-in: {error.strerror or error}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if (earlier := _FILES.get(file)) is not None:
        if earlier != sha256:
            raise ConfigError(
                f"{file}: the plug-in has changed since this process loaded it (SHA-256 {earlier} then, {sha256} now); "
                "start Python again to use the new code"
            )
        return
    module = ModuleType(f"lrps_plugin_{file.stem}_{sha256[:12]}", f"Plug-in {file}")
    module.__file__ = str(file)
    with errors_of_plugin(str(file)):
        code = compile(content, str(file), "exec")
        sys.modules[module.__name__] = module  # Dataclasses and pickle look their modules up there.
        try:
            with registering(Source(file, sha256, is_named_in_config=True)):
                exec(code, vars(module))
        except BaseException:
            del sys.modules[module.__name__]
            raise
    _FILES[file] = sha256


def _version_of(names: Mapping[str, Any]) -> str | None:
    version = names.get("__version__")
    return None if version is None else str(version)


def version_in_caller(depth: int) -> str | None:
    """Return `__version__` of a module on the stack; None if it has none.

    depth: number of frames between the caller of this function and the module.
    """
    return _version_of(sys._getframe(depth + 1).f_globals)


@contextmanager
def errors_of_plugin(what: str, file: Path | None = None, kind: type[LrpsError] = ConfigError) -> Iterator[None]:
    """Within the context, turn exceptions of a plug-in's code into an error with file and line.

    what: beginning of the message. file: the source, if `what` does not name it. kind: class of the error. Errors of
    lrps pass unchanged.
    """
    try:
        yield
    except LrpsError:
        raise
    except Exception as error:
        raise kind(f"{what}: {_where(error, str(file or what))}{type(error).__name__}: {error}") from error


def _where(error: Exception, file: str) -> str:
    """Return the line of a source at which it failed, or else the last place in the traceback."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}:{error.lineno}: "
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if frame.filename == file] or frames[-1:]
    return "".join(f"{frame.filename}:{frame.lineno}: " for frame in inside[-1:])
