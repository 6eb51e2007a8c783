"""A file is read once, however often and by whatever names it is given."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pandas as pd
import pytest

from malaria_kedro.inference import repeats
from malaria_kedro.inference.images_again import read_again
from malaria_kedro.inference.sources import open_images
from odd_images import png
from source_material import NIH, lay_out, listed, names, pack


def opened(source, work: Path, **options):
    return open_images(source, work, patient_pattern=NIH, **options)


@pytest.mark.parametrize("again", ["a.png", "./a.png", "x/../a.png", "{folder}/a.png", "link.png", "linked/a.png"])
def test_a_row_that_leads_to_an_earlier_rows_file_is_left_out(tmp_path: Path, work: Path, again: str) -> None:
    lay_out(tmp_path, {"a.png": png(1), "b.png": png(2), "x/c.png": png(3)})
    (tmp_path / "link.png").symlink_to("a.png")
    (tmp_path / "linked").symlink_to(".")
    path = listed(tmp_path, f"path\na.png\n{again.format(folder=tmp_path)}\nb.png\n")
    images = opened(path, work)
    assert names(images) == ["a.png", "b.png"]
    assert (len(images), names(images, 1)) == (2, ["b.png"])
    assert [sentence.rpartition(": ")[2] for sentence in images.repeats] == ["1"]


def test_a_file_behind_separators_of_windows_is_the_same(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"x/a.png": png(1)})
    assert names(opened(listed(tmp_path, "path\nx\\a.png\nx/a.png\n"), work)) == ["x\\a.png"]


def test_a_link_beside_its_target_is_left_out_of_a_folder(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path / "cells", {"b.png": png(1), "c.png": png(2)})
    (tmp_path / "cells" / "d.png").symlink_to("b.png")
    assert names(opened(tmp_path / "cells", work)) == ["b.png", "c.png"]


def test_hard_links_and_copies_are_images_of_their_own(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path / "cells", {"a.png": png(1), "copy.png": png(1)})
    os.link(tmp_path / "cells" / "a.png", tmp_path / "cells" / "hard.png")
    images = opened(tmp_path / "cells", work)
    assert (names(images), images.repeats) == (["a.png", "copy.png", "hard.png"], [])


def test_rows_without_a_path_are_a_row_each(tmp_path: Path, work: Path) -> None:
    assert len(opened(listed(tmp_path, "path,patient\n,1\n,2\n"), work)) == 2


def test_another_patient_or_label_where_a_file_is_named_again_is_told_of(tmp_path: Path, work: Path, caplog) -> None:
    lay_out(tmp_path, {"a.png": png(1), "b.png": png(2)})
    text = "path,patient,label\na.png,1,infected\nb.png,2,healthy\na.png,1,healthy\nb.png,2,healthy\n"
    with caplog.at_level(logging.WARNING):
        images = opened(listed(tmp_path, text), work)
    assert [(ref.name, ref.label) for ref in images.refs()] == [("a.png", "Parasitized"), ("b.png", "Uninfected")]
    assert [sentence.rpartition(": ")[2] for sentence in images.repeats] == ["2", "1"]
    assert [record.getMessage() for record in caplog.records] == list(images.repeats)


def test_a_list_after_the_folder_that_it_is_about_gives_its_patients_and_labels(tmp_path: Path, work: Path) -> None:
    cells = lay_out(tmp_path / "cells", {"C1_a.png": png(1), "b.png": png(2), "c.png": png(3), "d.png": png(4)})
    text = "path,patient,label\ncells/C1_a.png,C1,infected\ncells/b.png,2,healthy\ncells/c.png,,dirt\n"
    path = listed(tmp_path, text)
    wanted = [("C1", "Parasitized"), ("2", "Uninfected"), (None, None), (None, None)]
    with opened([cells, path], work) as images:
        assert [(ref.patient, ref.label) for ref in images.refs()] == wanted
        assert [sentence.rpartition(": ")[2] for sentence in images.repeats] == ["3", "2"]
        told = dict(read_again("", work, set(names(images)), patient_pattern=NIH, fingerprint=images.fingerprint))
    assert sorted(told.values()) == sorted(png(number) for number in (1, 2, 3, 4))


def test_what_a_list_calls_neither_class_gets_no_label_of_a_folder(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"Parasitized/a.png": png(1), "Parasitized/b.png": png(2)})
    path = listed(tmp_path, "path,label\nParasitized/a.png,dirt\nParasitized/b.png,\n")
    with opened([path, tmp_path / "Parasitized"], work) as images:
        assert [ref.label for ref in images.refs()] == [None, "Parasitized"]
        assert [sentence.rpartition(": ")[2] for sentence in images.repeats] == ["2", "1", "1"]


def test_a_folder_is_another_request_where_a_list_fills_in_its_labels(tmp_path: Path, work: Path) -> None:
    cells = lay_out(tmp_path / "cells", {"a.png": png(1)})
    prints, labels = [], []
    for label in ("", "infected", "healthy"):
        with opened([cells, listed(tmp_path, f"path,label\ncells/a.png,{label}\n")], work) as images:
            prints.append(images.fingerprint)
            labels.append([ref.label for ref in images.refs()])
    assert labels == [[None], ["Parasitized"], ["Uninfected"]]
    assert len(set(prints)) == 3
    assert [ref.label for ref in opened(cells, work).refs()] == [None]


def test_labels_are_said_to_be_counted_before_repeats_are_left_out(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"a.png": png(1)})
    once = opened(listed(tmp_path, "path,label\na.png,Parasitized\n"), work).remarks
    twice = opened(listed(tmp_path, "path,label\na.png,Parasitized\na.png,Parasitized\n"), work).remarks
    unlabelled = opened(listed(tmp_path, "path\na.png\na.png\n"), work).remarks
    assert (len(once), len(twice), len(unlabelled)) == (1, 2, 0)
    assert "2 images" in twice[0]


def test_sources_that_share_files_give_each_once(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, {"cells/a.png": png(1), "cells/b.png": png(2), "c.png": png(3)})
    (tmp_path / "other").symlink_to("cells")
    monkeypatch.chdir(tmp_path)
    path = listed(tmp_path, "path\ncells/b.png\nc.png\n")
    with opened([path, "c.png", "other", "cells"], work) as images:
        assert names(images) == [f"{tmp_path}/cells/b.png", f"{tmp_path}/c.png", "other/a.png"]
        assert [images.read(ref) for ref in images.refs()] == [png(2), png(3), png(1)]
        assert len(images) == 3
        told = dict(read_again("", work, set(names(images)), patient_pattern=NIH, fingerprint=images.fingerprint))
    assert list(told.values()) == [png(2), png(3), png(1)]


def test_a_zip_by_its_name_and_by_a_link_is_read_once(tmp_path: Path, work: Path) -> None:
    pack(tmp_path / "cells.zip", {"a.png": png(1)})
    (tmp_path / "link.zip").symlink_to("cells.zip")
    with opened([tmp_path / "cells.zip", tmp_path / "link.zip"], work) as images:
        assert len(images) == 1


def test_two_requests_of_one_folder_keep_their_own_listings(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"a.png": png(1), "b.png": png(2)})
    path = listed(tmp_path, "path\na.png\nb.png\n")
    alone = opened(path, work)
    both = opened([tmp_path / "a.png", path], work)
    assert names(alone) == ["a.png", "b.png"]
    assert len(both) == 2
    assert alone.fingerprint != both.fingerprint
    assert names(opened(path, work)) == ["a.png", "b.png"]


def test_the_same_rows_are_left_out_each_time(tmp_path: Path, work: Path) -> None:
    lay_out(tmp_path, {"a.png": png(1)})
    path = listed(tmp_path, "path\na.png\n./a.png\n")
    assert opened(path, work).fingerprint == opened(path, work).fingerprint
    assert len([file for file in work.iterdir() if file.suffix == ".jsonl"]) == 1


def test_one_file_may_be_named_any_number_of_times(tmp_path: Path, work: Path, monkeypatch) -> None:
    monkeypatch.setattr(repeats, "AT_ONCE", 100)
    lay_out(tmp_path, {"a.png": png(1)})
    pd.DataFrame({"path": ["a.png"] * 5_000}).to_parquet(tmp_path / "list.parquet")
    images = opened(tmp_path / "list.parquet", work)
    assert names(images) == ["a.png"]
    assert images.repeats[0].endswith(": 4,999")
