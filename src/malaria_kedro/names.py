"""The names of classes and splits, and what a cell image's name tells: its slide image and its patient."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from pathlib import Path

from malaria_kedro.language import N_, _

PARASITIZED = N_("Parasitized")
UNINFECTED = N_("Uninfected")
# fastai sorts a vocabulary, so "Parasitized" is class 0 of every network here and the positive class of every metric.
CLASSES = (PARASITIZED, UNINFECTED)

# The keys are texts too: stored notes begin with them.
SPLIT_NAMES = {N_("train"): N_("training"), N_("valid"): N_("validation"), N_("test"): N_("test")}
STRATEGY_NAMES = {"patient": N_("patient"), "random": N_("random"), "folder": N_("folder")}
# Folders of a source that is split already, in any case: the split that each stands for.
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp"})
# Images all the same, of formats that are not read: they are counted, so that none is left out in silence.
OTHER_IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in re.findall(
        r"\w+",
        # of the web, of phones and of paint programs
        "apng avif avifs bpg dds dib emf eps exr gif hdr heic heif hif icns ico jfi jif jng jxl jxr mng mpo pcx pjp "
        "pjpeg psb psd sgi svg svgz tga webp wmf xbm xcf xpm "
        # JPEG 2000 and the portable maps
        "j2c j2k jp2 jpc jpf jpm jpx pam pbm pfm pgm pnm ppm "
        # cameras
        "3fr arw cr2 cr3 crw dng erf kdc mrw nef nrw orf pef raf raw rw2 sr2 srf srw x3f "
        # microscopes, slide scanners and other instruments
        "bif czi dcm dicom fit fits ims lif lsm mrxs nd2 ndpi nii oib oif oir scn svs svslide vms vmu vsi zvi",
    )
)

NIH_PATIENT_PATTERN = r"^(C\d+)"

# Words that people use for the classes, without signs and in lower case; hints come from them, and no label does.
_WORDS = {
    word: label
    for label, words in zip(
        CLASSES,
        (
            "parasitized parasitised parasite parasites infected positive pos malaria 1 true yes",
            "uninfected noninfected notinfected unparasitized unparasitised healthy normal negative neg 0 false no",
        ),
        strict=True,
    )
    for word in re.findall(r"\w+", words)
}

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV injection"), the full-width signs of East Asian
# keyboards included. Apostrophes before it count too, so that every text has one spelling and each spelling one text.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def split_name(split: str) -> str:
    """Return what readers call a split (``validation`` of ``valid``), in the language of the page."""
    return _(SPLIT_NAMES.get(split, split))


def strategy_name(strategy: str) -> str:
    """Return what readers call a way to split (``random``), in the language of the page."""
    return _(STRATEGY_NAMES.get(strategy, strategy))


def is_image_name(name: str) -> bool:
    """Tell whether a file name ends like an image (``Thumbs.db``, ``.DS_Store`` and ``._x.png`` do not count)."""
    last = last_part(name)
    return posixpath.splitext(last)[1].lower() in IMAGE_SUFFIXES and not last.startswith(".")


def is_other_image_name(name: str) -> bool:
    """Return whether a file name ends like an image of a format that is not read, such as ``.webp``."""
    last = last_part(name)
    return posixpath.splitext(last)[1].lower() in OTHER_IMAGE_SUFFIXES and not last.startswith(".")


def printable(name: str) -> str:
    r"""Return a file name as text that every file can hold: a byte that is not UTF-8 becomes ``\xff``."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return name


def cell_file(root: Path, path: str) -> Path:
    """Return the file behind a path of the cell index, which has the name as ``printable`` writes it."""
    file = root / path
    if "\\x" not in path or os.path.lexists(file):
        return file
    raw = re.sub(rb"\\x([89a-f][0-9a-f])", lambda byte: bytes.fromhex(byte[1].decode()), path.encode())
    return root / os.fsdecode(raw)


def class_meant(name: str) -> str | None:
    """Return the class that a word such as ``Parasitised``, ``positive`` or ``1`` suggests, or None."""
    return _WORDS.get(re.sub(r"[\W_]+", "", name.casefold()))


def slide_of(name: str) -> str:
    """Return the slide image that a cell was cut from: what stands before ``_cell_``, else the bare name."""
    return posixpath.splitext(last_part(name))[0].split("_cell_")[0]


def patient_of(name: str, pattern: str = NIH_PATIENT_PATTERN) -> str | None:
    """Return the patient of a cell image, or None if the name does not say.

    The NIH names begin with the patient's number (``C47P8thin_IMG_…`` and ``C47P9thin_IMG_…`` are one patient,
    photographed on two microscopes). ``pattern`` is a regular expression whose first group is the patient. It is given
    the name in Unicode's composed form, NFC: a patient called Köln is one, whether macOS or Windows wrote the name.
    """
    match = re.search(pattern, unicodedata.normalize("NFC", last_part(name)))
    return match.group(1) if match else None


def natural_order(name: str) -> tuple[list[tuple[int, str] | str], str]:
    """Return a key that sorts names as people count: C2 before C10, and C02 before C2."""
    parts = re.split("([0-9]+)", name)  # text and digits by turns
    # Digits compare by their length first: no name is too long a number.
    counted = [(len(digits), digits) for digits in (part.lstrip("0") for part in parts[1::2])]
    keys: list[tuple[int, str] | str] = [*parts]
    keys[1::2] = counted
    return keys, name


def spreadsheet_safe(text: str) -> str:
    """Return a text as a CSV for people holds it: an apostrophe before what a spreadsheet would run as a formula.

    ``=1+1`` becomes ``'=1+1``, and a text that begins with ``'=`` itself ``''=``; any other text stays as it is.
    ``spreadsheet_exact`` gives back the text.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def spreadsheet_exact(text: str) -> str:
    """Return the text that ``spreadsheet_safe`` was given: without the apostrophe before a formula's sign."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def last_part(path: str) -> str:
    """Return what stands behind the last slash; a path object would take five times as long, and names are many."""
    return posixpath.basename(path.rstrip("/"))
