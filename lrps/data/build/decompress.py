"""Streams of the decompressed content of files, in bounded memory.

zstandard is optional and imported on first use. Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

from lrps.data.build.file_range import CHUNK_BYTES, optional_module
from lrps.data.build.kinds import Compression

ZSTD_WINDOW_BYTES = 2**31
"""Largest window that is accepted: that of `zstd --long=31`. The library's own default limit is 2^27."""


class _ZstdStream(io.RawIOBase):
    """A decompressed zstd file of one or more frames. Raises EOFError if it is truncated, unlike the library."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._library = optional_module("zstandard", "zst")
        self._frame = self._new_frame()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            data = self._frame.unused_data if self._frame.eof else b""
            if not (data := data or self._file.read(CHUNK_BYTES)):
                if not self._frame.eof:
                    raise EOFError
                return 0
            if self._frame.eof:
                self._frame = self._new_frame()
            try:
                self._left = memoryview(self._frame.decompress(data))
            except self._library.ZstdError as error:
                raise zlib.error(str(error)) from None
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken

    def _new_frame(self) -> Any:
        return self._library.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()


_STREAMS: dict[Compression, Callable[[BinaryIO], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zstd": lambda file: io.BufferedReader(_ZstdStream(file)),
}


def decompressed(file: BinaryIO, compression: Compression | None) -> BinaryIO:
    """Return a stream of the content of an open file. Raises EOFError for an empty file that should be compressed."""
    if compression is None:
        return file
    if not file.read(1):
        raise EOFError
    file.seek(0)
    stream: BinaryIO = _STREAMS[compression](file)
    return stream
