"""Zip files whose member names may have any encoding."""

from __future__ import annotations

import io
import logging
import re
import struct
import zipfile
import zlib
from pathlib import Path

from malaria_kedro.cells.plain_files import START

logger = logging.getLogger(__name__)

ENCRYPTED = 0x1  # of a member's flag_bits
_UTF8_FLAG = 0x800
_CENTRAL, _LOCAL = b"PK\x01\x02", b"PK\x03\x04"
_CENTRAL_SIZE, _LOCAL_SIZE = 46, 30
_UNICODE_PATH = 0x7075  # Info-ZIP's extra field with the name in UTF-8


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip for reading, with ``member.filename`` decoded as its packer meant it.

    The format marks UTF-8 names with a flag and calls all others cp437. The Archive Utility of macOS writes UTF-8
    without the flag, and other packers set it on names that are not UTF-8, at which the standard library gives up the
    whole zip. Here a name that is valid UTF-8 is UTF-8, an Info-ZIP Unicode path counts where it belongs to the name,
    and any other name is cp437, in which every byte is a character.

    Members of the result are opened by their ``ZipInfo``, not by their name.

    Raises:
        OSError: the file cannot be opened.
        zipfile.BadZipFile: it is not a zip, its directory is damaged, or it needs a newer version of the format.
    """
    try:
        bundle = _Zip(path)
    except (ValueError, NotImplementedError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error
    assumed: list[str] = []
    for member in bundle.infolist():
        raw = member.orig_filename.encode("latin-1")
        name = member_name(raw, member.extra)
        if not name.isascii() and name.encode("utf-8") != raw and name == raw.decode("cp437"):
            assumed.append(name)
        # As zipfile does: a name ends at a null character, and what follows is left in orig_filename.
        member.filename = name.partition("\0")[0]
    if assumed:
        logger.warning(
            "%d names in %s are not UTF-8 and are read as code page 437, as the zip format says; if %r is not what it "
            "should be, pack the images again with UTF-8 names",
            len(assumed),
            path.name,
            assumed[0],
        )
    return bundle


def start_of_member(bundle: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return the first bytes of a member, as many as ``begins_like_an_image`` looks at; empty if it is unreadable."""
    try:
        with bundle.open(member) as content:
            return content.read(START)
    except Exception:  # encrypted, damaged, or of an unknown compression
        return b""


def slashed(member: zipfile.ZipInfo) -> str:
    """Return a member's name with slashes: some packers on Windows write backslashes."""
    return member.filename.replace("\\", "/")


def leads_out(member: zipfile.ZipInfo) -> bool:
    """Return whether a member's name leads out of the folder that it would be unpacked into."""
    name = slashed(member)
    return name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name) is not None


def same_content(one: zipfile.ZipInfo, other: zipfile.ZipInfo) -> bool:
    """Return whether two members hold the same bytes, as far as the zip's directory tells."""
    return (one.CRC, one.file_size) == (other.CRC, other.file_size)


def member_name(raw: bytes, extra: bytes = b"") -> str:
    """Decode a member's name, from its bytes and its extra fields; it has no surrogates, so any table can hold it."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _unicode_path(raw, extra) or raw.decode("cp437")


def _unicode_path(raw: bytes, extra: bytes) -> str | None:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        data, extra = extra[4 : 4 + size], extra[4 + size :]
        # Version 1, then the checksum of the name that it belongs to: an archiver that renames may leave an old field.
        if kind == _UNICODE_PATH and data[:5] == b"\x01" + struct.pack("<I", zlib.crc32(raw)):
            try:
                return data[5:].decode("utf-8") or None
            except UnicodeDecodeError:
                return None
    return None


class _Zip(zipfile.ZipFile):
    """A zip whose names are read as latin-1, which gives every byte back."""

    def __init__(self, path: Path) -> None:
        self._file = _WithoutUtf8Flags(io.FileIO(path))
        try:
            super().__init__(self._file, metadata_encoding="latin-1")
            # ASCII reads the same with the flag and without.
            odd = (member.header_offset for member in self.infolist() if not member.orig_filename.isascii())
            self._file.local_headers = frozenset(odd)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        super().close()
        self._file.close()  # zipfile leaves a file open that it did not open itself


class _WithoutUtf8Flags(io.BufferedReader):
    """A file whose zip headers never claim that a name is UTF-8, for then zipfile would insist on it.

    zipfile reads the whole central directory at once, and each local header by itself. ``local_headers`` is where the
    local headers begin whose flags matter; None while the directory is read.
    """

    local_headers: frozenset[int] | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        if self.local_headers is None:
            content = super().read(size)
            return _clear_central_flags(content) if content.startswith(_CENTRAL) else content
        if size != _LOCAL_SIZE or self.tell() not in self.local_headers:
            return super().read(size)
        header = bytearray(super().read(size))
        if header.startswith(_LOCAL) and len(header) == _LOCAL_SIZE:
            _clear_flag(header, 6)
        return bytes(header)


def _clear_central_flags(directory: bytes) -> bytes:
    changed, at = bytearray(directory), 0
    while changed[at : at + 4] == _CENTRAL and at + _CENTRAL_SIZE <= len(changed):
        _clear_flag(changed, at + 8)
        at += _CENTRAL_SIZE + sum(struct.unpack_from("<HHH", changed, at + 28))
    return bytes(changed)


def _clear_flag(headers: bytearray, at: int) -> None:
    (flags,) = struct.unpack_from("<H", headers, at)
    struct.pack_into("<H", headers, at, flags & ~_UTF8_FLAG)
