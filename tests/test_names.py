"""What a cell's name tells, on the spellings of the NIH set and, where it is at hand, on every name of the set."""

from __future__ import annotations

import csv
import os
import re
import sys
import zipfile
from pathlib import Path

import pytest

from malaria_kedro.names import (
    cell_file,
    is_image_name,
    is_other_image_name,
    natural_order,
    patient_of,
    printable,
    slide_of,
    spreadsheet_exact,
    spreadsheet_safe,
)

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("C100P61ThinF_IMG_20150918_144104_cell_162.png", "C100"),
        ("C1_thinF_IMG_20150604_104919_cell_9.png", "C1"),
        ("C3thin_original_IMG_20150608_162835_cell_1.png", "C3"),
        ("C39P4thinF_original_IMG_20150622_110115_cell_131.png", "C39"),
        ("C37BP2_thinF_IMG_20150620_131257a_cell_1.png", "C37"),
        ("C205ThinF_IMG_20151106_152003_cell_188.png", "C205"),
    ],
)
def test_patient_is_the_leading_number(name: str, patient: str):
    assert patient_of(name) == patient


def test_a_patient_photographed_on_two_microscopes_is_one_patient():
    olympus = "C47P8thinOriginalOlympusCX21_IMG_20150714_093510_cell_1.png"
    motic = "C47P9thin_Original_Motic_IMG_20150714_094626_cell_1.png"
    assert patient_of(olympus) == patient_of(motic) == "C47"


@pytest.mark.parametrize("pattern", [r"^(.+)_cell_", r"^(K.ln)_"])
def test_a_patient_is_one_however_the_letters_are_composed(pattern):
    composed, decomposed = "K\u00f6ln", "Ko\u0308ln"
    assert patient_of(f"a/{composed}_cell_1.png", pattern) == composed
    assert patient_of(f"a/{decomposed}_cell_2.png", pattern) == composed


def test_patient_is_looked_for_in_the_file_name_and_not_in_its_folder():
    assert patient_of("C9/Parasitized/C10P1ThinF_IMG_1_2_cell_3.png") == "C10"


@pytest.mark.parametrize("name", ["cell_12.png", "xC12.png", "c12.png", "Thumbs.db"])
def test_a_name_without_a_patient_gives_none(name: str):
    assert patient_of(name) is None


def test_another_naming_has_its_own_pattern():
    assert patient_of("smear-17_patient-042_3.png", pattern=r"patient-(\d+)") == "042"


@pytest.mark.parametrize(
    ("name", "slide"),
    [
        ("C100P61ThinF_IMG_20150918_144104_cell_162.png", "C100P61ThinF_IMG_20150918_144104"),
        (
            "cell_images/Parasitized/C39P4thinF_original_IMG_20150622_110115_cell_131.png",
            "C39P4thinF_original_IMG_20150622_110115",
        ),
        ("somewhere/scan.7.png", "scan.7"),
    ],
)
def test_slide_is_what_stands_before_the_cell(name: str, slide: str):
    assert slide_of(name) == slide


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "cell_images/Uninfected/a.jpeg", "a.b.tif", "a.jfif", "a.JPE"])
def test_image_names(name: str):
    assert is_image_name(name)


@pytest.mark.parametrize(
    "name",
    ["Thumbs.db", "cell_images/Parasitized/Thumbs.db", ".DS_Store", "._x.png", "a/._x.png", "a.png.txt", "png", "a/"],
)
def test_not_image_names(name: str):
    assert not is_image_name(name)


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "＋1", "－1", "＠x", "-", '=HYPERLINK("x")'],
)
def test_no_name_is_a_formula_in_a_spreadsheet(name: str):
    assert spreadsheet_safe(name) == f"'{name}"
    assert spreadsheet_exact(f"'{name}") == name


@pytest.mark.parametrize("name", ["'=1", "''=1", "'-", "''@"])
def test_a_name_that_begins_like_a_harmless_formula_is_told_from_one(name: str):
    assert spreadsheet_safe(name) != name
    assert spreadsheet_exact(spreadsheet_safe(name)) == name


@pytest.mark.parametrize("name", ["C1", "001", "'C1", "'", "", " =1", "a=1", "1-2", "O'Hara", "NA", "−1"])
def test_any_other_name_stays_as_it_is(name: str):
    assert spreadsheet_safe(name) == name
    assert spreadsheet_exact(name) == name


@pytest.mark.parametrize("name", ["a.webp", "b/a.GIF", "a.jp2", "a.avif", "a.ppm", "a.heic", "a.dcm"])
def test_images_of_formats_that_are_not_read(name: str):
    assert is_other_image_name(name)
    assert not is_image_name(name)


@pytest.mark.parametrize("name", ["a.png", "Thumbs.db", "a.txt", "._a.webp", "webp"])
def test_not_images_of_other_formats(name: str):
    assert not is_other_image_name(name)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_printable_name_leads_back_to_the_file(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9/x\xff.png")
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).touch()
    assert printable(name) == r"caf\xe9/x\xff.png"
    assert cell_file(tmp_path, printable(name)) == tmp_path / name


def test_a_file_with_a_backslash_in_its_name_is_itself(tmp_path: Path):
    (tmp_path / r"\xff.png").touch()
    assert cell_file(tmp_path, r"\xff.png") == tmp_path / r"\xff.png"
    assert printable("café/x.png") == "café/x.png"


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"the real cells are not there: {SHARED_DATA}")
def test_every_real_name_gives_the_patient_of_the_official_tables():
    official = {}
    for table in sorted(SHARED_DATA.glob("patientid_cellmapping_*.csv")):
        with table.open(newline="") as lines:
            for row in csv.reader(lines):
                patient = re.match(r"C\d+", row[0]).group()
                official |= dict.fromkeys(re.findall(r"[^\s'\[\],]+\.png", ",".join(row[1:])), patient)
    with zipfile.ZipFile(SHARED_DATA / "cell_images.zip") as archive:
        names = [Path(name).name for name in archive.namelist() if is_image_name(name)]
    missing = [name for name in names if name not in official]
    assert not missing, f"{len(missing)} names are in no table, such as {missing[:3]}"
    assert {name: patient_of(name) for name in names} == {name: official[name] for name in names}
    assert len(set(map(patient_of, names))) == 169


def test_names_are_sorted_as_people_count():
    names = ["C10", "C2", "C02", "b", "C2P9", "C2P10", "10", "9", "9" * 5000, "٣", "C²", ""]
    ordered = sorted(names, key=natural_order)
    assert [name for name in ordered if name.startswith("C") and name != "C²"] == ["C02", "C2", "C2P9", "C2P10", "C10"]
    assert ordered[:4] == ["", "9", "10", "9" * 5000]
