"""Standard output and error of terminals that show ASCII only, or that want no escape codes.

This is the only place that decides: everything else prints what suits a terminal with UTF-8.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping

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


class AsciiStream(io.TextIOWrapper):
    """A text stream that writes ASCII only. It calls itself UTF-8, because click replaces others."""

    def write(self, text: str, /) -> int:
        return super().write(as_ascii(text))

    def write_exactly(self, text: str) -> int:
        """Write a text in UTF-8."""
        return super().write(text)


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
    """Replace standard output and error where they show ASCII only, and forbid escape codes where NO_COLOR is set.

    NO_COLOR takes effect through TERM=dumb, which every library of colours and moving lines respects.
    """
    sys.stdout, sys.stderr = _adapted(sys.stdout), _adapted(sys.stderr)
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
        os.environ.pop("FORCE_COLOR", None)


def _adapted(stream: object) -> io.TextIOWrapper:
    """Return a stream that writes ASCII if that is all that its terminal shows; else the same one."""
    if not isinstance(stream, io.TextIOWrapper) or isinstance(stream, AsciiStream):
        return stream  # type: ignore[return-value]  # None without standard output
    if not shows_ascii_only(stream.encoding, os.environ):
        return stream
    stream.flush()
    return AsciiStream(
        stream.buffer, encoding="utf-8", line_buffering=stream.line_buffering, write_through=stream.write_through
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
