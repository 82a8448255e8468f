"""Text files: how one is written, found out from its first bytes, and its lines.

However a file is compressed and encoded and whatever ends its lines, `open_text` returns lines that end in LF, in UTF-8
or at least in an encoding in which the bytes of ASCII characters are those characters.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import csv
import functools
import gzip
import io
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import pyarrow as pa

from recmodel import storage
from recmodel.data.catalogue import NO_GENRE
from recmodel.data.layouts import COMPRESSED, Part
from recmodel.errors import InputRejected

MAX_LINE_BYTES = 4 << 20
UNREADABLE = (EOFError, zlib.error, lzma.LZMAError, UnicodeError)  # what reading a damaged file raises, besides OSError

_DELIMITERS = (",", ";", "\t")
_RATINGS = ["userId", "movieId", "rating", "timestamp"]  # the columns of older MovieLens files, which have no header
_MOVIES = ["movieId", "title", "genres"]
_SEPARATOR = "\x1f"  # stands for :: where a delimiter must be one character
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_NOT_WINDOWS = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")  # the bytes that are no characters in Windows-1252
_UTF_8, _WINDOWS, _LATIN_1 = "utf-8", "cp1252", "latin-1"
_ENCODING_NAMES = {_UTF_8: "UTF-8", _WINDOWS: "Windows-1252", _LATIN_1: "Latin-1", "utf-16": "UTF-16"}
_DELIMITER_NAMES = {",": "CSV", ";": "CSV with ;", "\t": "CSV with tabs"}


@dataclass(frozen=True)
class Layout:
    """How the lines of a text file are divided."""

    name: str
    delimiter: str
    columns: list[str]  # all of them, in order
    has_header: bool = False  # otherwise the columns are always these
    lines_before_rows: int = 0  # the header, and what stands above it
    joined: Callable[[list[str]], list[str]] | None = None  # turns the fields of a line into those of `columns`

    @property
    def quoted(self) -> bool:
        """Whether a field in quotes may hold delimiters."""
        return self.has_header

    def fields(self, line: str) -> list[str]:
        """Split a line.

        Raises:
            csv.Error: quotes are not closed, or stand where none may.
        """
        if self.quoted:
            try:
                return self._quoted_fields(line)
            except csv.Error:
                if '\\"' not in line:
                    raise
                return self._quoted_fields(line.replace('\\"', '""'))  # as Spark writes quotes inside quotes
        fields = line.split(self.delimiter) if line else []
        return self.joined(fields) if self.joined else fields

    def _quoted_fields(self, line: str) -> list[str]:
        return next(csv.reader([line], delimiter=self.delimiter, strict=True), [])

    def with_short_delimiter(self, lines: bytes) -> tuple[bytes, str]:
        """Return the lines with a delimiter of one character, and that character."""
        if len(self.delimiter) == 1:
            return lines, self.delimiter
        separator = _SEPARATOR.encode()
        return lines.replace(separator, b"?").replace(self.delimiter.encode(), separator), _SEPARATOR


@dataclass(frozen=True)
class Dialect:
    """How a text file is written."""

    layout: Layout
    encoding: str  # a Python codec
    compression: str  # gzip, zstd, bzip2, xz, or empty
    carriage_returns: bool  # lines end with CR alone

    @property
    def is_plain(self) -> bool:
        """Whether the file's own bytes are what is read, so that reading may begin in the middle of it."""
        return self.encoding == _UTF_8 and not self.carriage_returns and not self.compression

    @property
    def layout_name(self) -> str:
        """What people call the layout."""
        return f"{self.layout.name} ({self.compression})" if self.compression else self.layout.name

    @property
    def encoding_name(self) -> str:
        """What people call the encoding."""
        return _ENCODING_NAMES.get(self.encoding, "UTF-16")


def detect(part: Part, *, has_text: bool) -> Dialect:
    """Find out how a file is written.

    Args:
        has_text: whether the columns that will be read hold text. Only then does the whole file decide between UTF-8
            and Windows-1252, which are the same for numbers.

    Raises:
        InputRejected: the file is empty, or no text.
    """
    compression = _compression(part.location)
    with _decompressed(part.location, compression) as file:
        start = file.read(1 << 16)
        encoding = _wide_encoding(start)
        if encoding is None:
            chunks = itertools.chain([start], iter(functools.partial(file.read, 1 << 20), b""))
            encoding = _narrow_encoding(chunks) if has_text else _UTF_8
    for magic, kind in _NO_TEXT.items():
        if start.startswith(magic):
            raise InputRejected(f"{part.location} is {kind}; give it as CSV or Parquet, under a name that says so")
    first_line, end, above = _first_line(start, encoding)
    if not first_line:
        raise InputRejected(f"{part.location} is empty; its first line must name the columns")
    return Dialect(_layout(part.location, first_line, above), encoding, compression, carriage_returns=end == "\r")


_NO_TEXT = {
    b"PK\x03\x04": "a zip file or an Excel workbook", b"\xd0\xcf\x11\xe0": "an Excel workbook", b"ORC": "an ORC file",
    b"PAR1": "a Parquet file", b"Obj\x01": "an Avro file", b"ARROW1": "an Arrow or Feather file",
    b"{": "JSON", b"[{": "JSON",
    b"\x04\x22\x4d\x18": "compressed with LZ4", b"\xff\x06\x00\x00sNaPpY": "compressed with Snappy",
    b"SQLite format 3": "an SQLite database", b"<!DOCTYPE": "a web page", b"<html": "a web page",
    b"version https://git-lfs": "the pointer of Git LFS, and not the file itself",
    codecs.BOM_UTF32_LE: "in UTF-32", codecs.BOM_UTF32_BE: "in UTF-32",
}  # fmt: skip


def _layout(location: str, first_line: str, above: int) -> Layout:
    name = re.sub(COMPRESSED + "$", "", storage.name(location).lower())
    if name == "u.data":
        return Layout("MovieLens 100K", "\t", _RATINGS)
    if name == "u.item":
        return Layout("MovieLens 100K", "|", _MOVIES, joined=_genres_of_u_item(location))
    if name == "ratings.dat" and "::" in first_line:
        return Layout("MovieLens 1M", "::", _RATINGS)
    if name == "movies.dat" and "::" in first_line:
        return Layout("MovieLens 1M", "::", _MOVIES, joined=_whole_title)
    columns, delimiter = _header(first_line)
    return Layout(_DELIMITER_NAMES[delimiter], delimiter, columns, has_header=True, lines_before_rows=1 + above)


def open_text(location: str, dialect: Dialect) -> BinaryIO:
    """Open a file for reading: UTF-8 without a mark, lines that end in LF; see the head of this module."""
    file = _decompressed(location, dialect.compression)
    if dialect.encoding == _UTF_8 and not dialect.carriage_returns:
        if file.peek(len(codecs.BOM_UTF8)).startswith(codecs.BOM_UTF8):  # type: ignore[attr-defined]
            file.read(len(codecs.BOM_UTF8))
        return file
    # In UTF-8, bytes that are no characters are kept for the rows that hold them to be refused.
    errors = "surrogateescape" if dialect.encoding == _UTF_8 else "strict"
    codec = "utf-8-sig" if dialect.encoding == _UTF_8 else dialect.encoding
    decoder = codecs.getincrementaldecoder(codec)(errors)
    translated = io.IncrementalNewlineDecoder(decoder, translate=dialect.carriage_returns)
    return io.BufferedReader(_Recoded(file, translated), 1 << 20)


class _Recoded(io.RawIOBase):
    """A file in UTF-8, whatever its own encoding."""

    def __init__(self, file: BinaryIO, decoder: io.IncrementalNewlineDecoder) -> None:
        self._file, self._decoder, self._waiting, self._ended = file, decoder, b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting and not self._ended:
            chunk = self._file.read(1 << 20)
            self._ended = not chunk
            text = self._decoder.decode(chunk, final=self._ended)
            self._waiting = text.removeprefix("\ufeff").encode("utf-8", "surrogateescape")
        size = min(len(buffer), len(self._waiting))
        buffer[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def _compression(location: str) -> str:
    with storage.open_binary(location) as file:
        start = file.read(10)
    return next((name for name, magic in _MAGIC.items() if re.match(magic, start)), "")


_MAGIC = {
    "gzip": rb"\x1f\x8b",
    "zstd": rb"\x28\xb5\x2f\xfd",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "xz": rb"\xfd7zXZ\0",
}


def _decompressed(location: str, compression: str) -> BinaryIO:
    if compression == "zstd":
        stream = pa.CompressedInputStream(storage.open_file(location), "zstd")
        return io.BufferedReader(stream, 1 << 20)  # type: ignore[type-var]
    file = storage.open_binary(location)
    if compression == "gzip":
        return cast(BinaryIO, gzip.open(file))
    if compression == "bzip2":
        return io.BufferedReader(bz2.open(file), 1 << 20)
    if compression == "xz":
        return io.BufferedReader(lzma.open(file), 1 << 20)
    return file


def _wide_encoding(start: bytes) -> str | None:
    """Return UTF-16 if the first bytes are that, with or without its mark."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first = start[:64]
    if len(first) >= 4 and first[1::2].count(0) > len(first) * 0.4 and not first[::2].count(0):
        return "utf-16-le"
    if len(first) >= 4 and first[::2].count(0) > len(first) * 0.4 and not first[1::2].count(0):
        return "utf-16-be"
    return None


def _narrow_encoding(chunks: Iterable[bytes]) -> str:
    """Return UTF-8 unless most of what is not ASCII is not UTF-8 either."""
    decoder = codecs.getincrementaldecoder(_UTF_8)("surrogateescape")
    other = damaged = 0
    is_windows = True
    for chunk in itertools.chain(chunks, [b""]):
        if chunk.isascii() and chunk and not decoder.getstate()[0]:
            continue
        is_windows = is_windows and not _NOT_WINDOWS.search(chunk)
        characters = _NOT_ASCII.findall(decoder.decode(chunk, final=not chunk))
        other += len(characters)
        damaged += sum("\udc80" <= character <= "\udcff" for character in characters)
    if damaged <= other - damaged:
        return _UTF_8  # rows that are damaged will be refused
    return _WINDOWS if is_windows else _LATIN_1


def _first_line(start: bytes, encoding: str) -> tuple[str, str, int]:
    """Return the first line that says something, what ends it (LF, CR LF, CR, or nothing), and how many are above.

    Those are blank, or tell a spreadsheet the delimiter, such as sep=;.
    """
    is_wide = encoding.startswith("utf-16")
    codec = encoding if is_wide else _LATIN_1  # until the line is alone: other lines may be damaged
    text = codecs.getincrementaldecoder(codec)("replace").decode(start.removeprefix(codecs.BOM_UTF8))
    text = text.removeprefix("\ufeff")
    above = _ABOVE_THE_HEADER.match(text)[0]  # type: ignore[index]  # it matches nothing, too
    line, end, _ = (*re.split(r"(\r\n|\r|\n)", text[len(above) :], maxsplit=1), "", "")[:3]
    if not is_wide:
        with contextlib.suppress(UnicodeDecodeError):
            line = line.encode(_LATIN_1).decode(_UTF_8)
    return line if line.strip() else "", end, len(re.findall(r"\r\n|\r|\n", above))


_ABOVE_THE_HEADER = re.compile(r'(?:(?:[ \t]*|"?sep=.?"?[,; \t]*)(?:\r\n|\r|\n))*', re.IGNORECASE)


def _header(line: str) -> tuple[list[str], str]:
    """Return the names of the columns, and the delimiter: the one that stands most often outside quotes."""
    outside_quotes = re.sub(r'"[^"]*"', "", line)
    delimiter = max(_DELIMITERS, key=outside_quotes.count)
    try:
        names = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        names = line.split(delimiter)
    return [name.strip().strip('"') for name in names], delimiter


def _whole_title(fields: list[str]) -> list[str]:
    """Return the fields of movies.dat; a title may hold the delimiter."""
    return fields if len(fields) < 3 else [fields[0], "::".join(fields[1:-1]), fields[-1]]


def _genres_of_u_item(location: str) -> Callable[[list[str]], list[str]]:
    """Return what turns the 24 fields of a line of u.item (five, and 0 or 1 for each genre) into id, title, genres."""
    names = _U_GENRE
    beside = storage.read(storage.below(storage.above(location), "u.genre"))
    if beside is not None:
        pairs = [line.rsplit("|", 1) for line in beside.decode("latin-1").split("\n") if "|" in line]
        names = [name for name, _ in sorted(pairs, key=lambda pair: int(pair[1]) if pair[1].strip().isdigit() else 0)]

    def joined(fields: list[str]) -> list[str]:
        if len(fields) != 5 + len(names):
            return fields
        genres = [name for name, flag in zip(names, fields[5:], strict=True) if flag.strip() == "1"]
        return [fields[0], fields[1], "|".join(name for name in genres if name != _U_GENRE[0]) or NO_GENRE[1]]

    return joined


_U_GENRE = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]  # fmt: skip
