"""Names of zip members come out as their packer meant them."""

from __future__ import annotations

import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pytest

from malaria_kedro.cells.zips import member_name, open_zip

ACCENTS = "Parasitized/Präparat_é_感染.png"
UTF8_FLAG = 0x800


def write(path: Path, *names: bytes, flag: bool = False, extra: bytes = b"") -> Path:
    """Write a zip whose members have names of these bytes, each with its own number as content."""
    with zipfile.ZipFile(path, "w") as bundle:
        for number, name in enumerate(names):
            # zipfile writes names in its own encodings alone: one in ASCII of the same length is replaced below.
            bundle.writestr(f"{number:03d}".ljust(len(name), "x"), str(number))
    content = path.read_bytes()
    for number, name in enumerate(names):
        content = content.replace(f"{number:03d}".ljust(len(name), "x").encode(), name)
    if flag:
        patched = bytearray(content)
        for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = patched.find(mark)
            while start >= 0:
                (flags,) = struct.unpack_from("<H", patched, start + at)
                struct.pack_into("<H", patched, start + at, flags | UTF8_FLAG)
                start = patched.find(mark, start + 1)
        content = bytes(patched)
    path.write_bytes(content)
    return path


def read(path: Path) -> dict[str, bytes]:
    with open_zip(path) as bundle:
        contents = {}
        for member in bundle.infolist():
            with bundle.open(member) as file:
                contents[member.filename] = file.read()
        return contents


@pytest.mark.parametrize("flag", [True, False])
def test_utf_8_is_utf_8_with_the_flag_and_without(tmp_path: Path, flag: bool) -> None:
    assert read(write(tmp_path / "a.zip", ACCENTS.encode(), b"plain.png", flag=flag)) == {
        ACCENTS: b"0",
        "plain.png": b"1",
    }


def test_names_of_macos_keep_their_form(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", ACCENTS)
    assert list(read(write(tmp_path / "a.zip", name.encode()))) == [name]


@pytest.mark.parametrize("flag", [True, False])
def test_what_is_no_utf_8_is_cp437_whatever_the_flag_says_and_is_said(tmp_path: Path, flag: bool, caplog) -> None:
    zipped = write(
        tmp_path / "a.zip", "Parasitized/Pr\xe4parat.png".encode("cp437"), b"\xff\xfe.png", b"c.png", flag=flag
    )
    found = read(zipped)
    assert list(found.values()) == [b"0", b"1", b"2"]
    assert next(iter(found)) == "Parasitized/Präparat.png"
    "".join(found).encode()  # no surrogate in any
    assert "2 names in a.zip are not UTF-8" in caplog.text
    assert "'Parasitized/Präparat.png'" in caplog.text


def test_an_info_zip_unicode_path_counts_where_it_belongs_to_the_name() -> None:
    raw = "Pr\xe4parat.png".encode("latin-1")
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + "Präparat.png".encode()
    extra = struct.pack("<HH", 0x5455, 1) + b"x" + struct.pack("<HH", 0x7075, len(field)) + field
    assert member_name(raw, extra) == "Präparat.png"
    assert member_name(b"\xe4.png", extra) == b"\xe4.png".decode("cp437")


def test_a_written_zip_reads_as_with_the_standard_library(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        for number in range(300):
            bundle.writestr(f"{ACCENTS}{number}", bytes([number % 256]) * number * 50)
    with zipfile.ZipFile(tmp_path / "a.zip") as bundle:
        assert read(tmp_path / "a.zip") == {name: bundle.read(name) for name in bundle.namelist()}


@pytest.mark.parametrize(
    "inner", [b"PK\x03\x04" + b"\xff" * 26, b"PK\x01\x02" + b"\xff" * 60], ids=["local", "central"]
)
def test_a_member_that_looks_like_a_header_keeps_its_bytes(tmp_path: Path, inner: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_STORED) as bundle:
        bundle.writestr("ä.png", inner)
    assert read(tmp_path / "a.zip") == {"ä.png": inner}


def test_a_file_that_is_no_zip_stays_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip at all")
    with pytest.raises(zipfile.BadZipFile, match="not a zip file"):
        open_zip(tmp_path / "a.zip")
