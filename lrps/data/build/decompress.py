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
from typing import Any, BinaryIO, cast

from lrps.data.build.file_range import CHUNK_BYTES, optional_module
from lrps.data.build.kinds import Compression

ZSTD_WINDOW_BYTES = 2**31
"""Largest window that is accepted: that of `zstd --long=31`. The library's own default limit is 2^27."""


class _FrameStream(io.RawIOBase):
    """The content of a file of compressed frames (bz2 and xz call them streams), which zero bytes may follow.

    new_frame: returns a decompressor of one frame. The decompressor raises its own error where no frame begins: the
    readers of bz2 and lzma in the standard library take that for the end of the file. Raises EOFError if the last frame
    is truncated.
    """

    def __init__(self, file: BinaryIO, new_frame: Callable[[], Any]) -> None:
        self._file, self._new_frame = file, new_frame
        self._frame = new_frame()
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            if (data := self._input()) is None:
                return 0
            self._left = memoryview(self._frame.decompress(data, CHUNK_BYTES))
        taken = min(len(buffer), len(self._left))
        buffer[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken

    def _input(self) -> bytes | None:
        """Return what the frame decompresses next, a new one if the last is complete; None at the end of the file."""
        if not self._frame.eof:
            if not self._frame.needs_input:
                return b""
            if not (data := self._file.read(CHUNK_BYTES)):
                raise EOFError
            return data
        data = self._frame.unused_data.lstrip(b"\0")
        while not data:
            if not (more := self._file.read(CHUNK_BYTES)):
                return None
            data = more.lstrip(b"\0")
        self._frame = self._new_frame()
        return data


class _ZstdFrame:
    """A decompressor of one zstd frame, with the methods of those of bz2 and lzma."""

    needs_input = True

    def __init__(self) -> None:
        library = optional_module("zstandard", "zst")
        self._error = library.ZstdError
        self._frame = library.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data)

    def decompress(self, data: bytes, _max_length: int) -> bytes:
        """Return all content of the data: the library has no limit. Raises zlib.error for damaged data."""
        try:
            return bytes(self._frame.decompress(data))
        except self._error as error:
            raise zlib.error(str(error)) from None


_NEW_FRAMES: dict[Compression, Callable[[], Any]] = {
    "bz2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
    "zstd": _ZstdFrame,
}


def decompressed(file: BinaryIO, compression: Compression | None) -> BinaryIO:
    """Return a stream of the content of an open file. Raises EOFError for an empty file that should be compressed."""
    if compression is None:
        return file
    if not file.read(1):
        raise EOFError
    file.seek(0)
    if compression == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    return io.BufferedReader(_FrameStream(file, _NEW_FRAMES[compression]))
