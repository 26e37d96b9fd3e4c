"""Standard output and error: without control characters of foreign text, and as their terminal can show it.

This is the only place that decides: everything else prints what suits a terminal with UTF-8.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping

from lrps.base.printable import on_terminal

_ASCII = str.maketrans(
    {
        **dict(zip("▁▂▃▄▅▆▇█", "_.-=+*%#", strict=True)),
        **dict(zip("─━│┃├└┌┐┘┤┬┴┼╸╺", "-=||||++++++++=", strict=True)),
        **dict(zip("×·–•✓✗’‘“”", "x.-*+x''\"\"", strict=True)),
        "…": "...",
        "→": "->",
        "←": "<-",
        "—": "--",
        "≤": "<=",
        "≥": ">=",
        "−": "-",
        **{chr(code): "*" for code in range(0x2800, 0x2900)},
    }
)
"""Characters of tables, trees, curves, bars and spinners, and what replaces them."""


class SafeStream(io.TextIOWrapper):
    """A text stream that writes no control characters but those of colours and progress bars on a terminal.

    Names in manifests, ledgers and configs, and messages of servers, may have been made to deceive who reads them.
    """

    def write(self, text: str, /) -> int:
        return self.write_exactly(text)

    def write_exactly(self, text: str) -> int:
        """Write a text in the encoding of the stream."""
        return super().write(on_terminal(text, self.isatty() or "FORCE_COLOR" in os.environ))


class AsciiStream(SafeStream):
    """A text stream that writes ASCII only. It calls itself UTF-8, because click replaces others."""

    def write(self, text: str, /) -> int:
        return self.write_exactly(as_ascii(text))


def print_exactly(text: str) -> None:
    """Print a text that programs read, such as a script: in UTF-8 on every terminal, so that its paths are right."""
    if isinstance(sys.stdout, AsciiStream):
        sys.stdout.write_exactly(f"{text}\n")
        sys.stdout.flush()
    else:
        print(text, flush=True)


def as_ascii(text: str) -> str:
    r"""Return a text in ASCII: plain lines and arrows, and any other character as `\xe9`, so that names stay exact."""
    return text if text.isascii() else text.translate(_ASCII).encode("ascii", "backslashreplace").decode()


def adapt_streams() -> None:
    """Replace standard output and error by streams that write what their terminal shows; heed NO_COLOR.

    NO_COLOR takes effect through TERM=dumb, which every library of colours and moving lines respects.
    """
    sys.stdout, sys.stderr = _adapted(sys.stdout), _adapted(sys.stderr)
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
        os.environ.pop("FORCE_COLOR", None)


def _adapted(stream: object) -> io.TextIOWrapper:
    """Return a stream without control characters, that writes ASCII if that is all that its terminal shows."""
    if not isinstance(stream, io.TextIOWrapper) or isinstance(stream, SafeStream):
        return stream  # type: ignore[return-value]  # None without standard output
    stream.flush()
    kind = AsciiStream if shows_ascii_only(stream.encoding, os.environ) else SafeStream
    return kind(
        stream.buffer,
        encoding="utf-8",
        errors="backslashreplace",  # Paths may have bytes that are no UTF-8.
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def shows_ascii_only(encoding: str, environment: Mapping[str, str]) -> bool:
    """Return whether a terminal shows ASCII only, by the encoding of the stream or the environment.

    Python takes UTF-8 in the C locale too, so that the variables of the locale count unless PYTHONIOENCODING is set.
    Without any of them, as in containers, the encoding of the stream counts.
    """
    if not encoding.lower().startswith("utf") or environment.get("TERM") == "dumb":
        return True
    locale = next(filter(None, map(environment.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    return locale in ("C", "POSIX") and not environment.get("PYTHONIOENCODING")
