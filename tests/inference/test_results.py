"""Parts become one table, counts and sums of each patient, and never a table in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from malaria_kedro.inference import results as module
from malaria_kedro.inference.results import (
    PART_SCHEMA,
    SCHEMA,
    Counts,
    ReadingRequest,
    Results,
    ResultsError,
    SavedResults,
    count_calls,
    part_name,
    patient_summary,
    rows_to_read_again,
    whole_rows,
    write_part,
)
from malaria_kedro.names import spreadsheet_exact

COLUMNS = ["path", "patient_id", "p_parasitized", "call", "quality", "reason", "width", "height", "label"]


def table(*rows: tuple) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(COLUMNS, row, strict=False)) for row in rows], schema=SCHEMA)


FIRST = table(
    ("a.png", "C1", 0.9, "Parasitized", "", "", 20, 21, "Parasitized"),
    ("b;c,d.png", "C1", 0.1, "Uninfected", "several_pages", "only the first", 20, 20, None),
)
SECOND = table(
    ('two\nlines "x".png', None, None, "", "unreadable", "the file is empty", None, None, "Uninfected"),
    ("d.png", "C2", 0.7, "", "blurred;not_a_cell", "far away", 30, 30, None),
    ("e.png", "C2", 0.4, "", "blurred", "", 30, 30, None),
)


def part_of(rows: pa.Table) -> pa.Table:
    """The rows as a part holds them, which tells of each image what was decoded."""
    contents = [None if row is None else b"content %d" % row for row in rows["width"].to_pylist()]
    return rows.append_column(PART_SCHEMA.field("content"), pa.array(contents, pa.binary()))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Five rows in two parts."""
    write_part(tmp_path / "parts", 0, part_of(FIRST))
    write_part(tmp_path / "parts", 2, part_of(SECOND))
    return Results(tmp_path / "parts", 5)


def test_the_parquet_file_is_the_parts_one_after_the_other(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "out" / "cells.parquet", tmp_path / "out" / "cells.csv")
    assert pq.read_table(tmp_path / "out" / "cells.parquet").equals(pa.concat_tables([FIRST, SECOND]))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cells.csv", "cells.parquet"]


def test_the_csv_reads_back_as_the_parquet_file(results: Results, tmp_path: Path) -> None:
    results.write(tmp_path / "cells.parquet", tmp_path / "cells.csv")
    types = {"p_parasitized": "float32", "width": "Int32", "height": "Int32"}
    found = pd.read_csv(
        tmp_path / "cells.csv",
        dtype=types,
        keep_default_na=False,
        na_values={"patient_id": "", "label": ""} | dict.fromkeys(types, ""),
    )
    pd.testing.assert_frame_equal(found, pd.concat(results.frames(), ignore_index=True))


def test_a_frame_has_missing_values_where_nothing_is_known(results: Results) -> None:
    first, second = results.frames()
    assert list(first.columns) == COLUMNS
    assert first["p_parasitized"].dtype == np.float32
    assert second["p_parasitized"].isna().tolist() == [True, False, False]
    assert second["width"].tolist() == [pd.NA, 30, 30]
    assert pd.isna(second["patient_id"].iloc[0])
    assert second["call"].tolist() == ["", "", ""]


def test_counts_tell_calls_refusals_and_flags(results: Results) -> None:
    flags = {"blurred": 2, "not_a_cell": 1, "several_pages": 1, "unreadable": 1}
    assert count_calls(results.frames()) == Counts(
        5, called=2, refused=3, parasitized=1, uninfected=1, quality=flags, unreadable=1, flagged=1
    )


def test_one_part_at_a_time_is_read(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = pq.ParquetFile

    def counted(path: Path) -> pq.ParquetFile:
        opened.append(path.name)
        return real(path)

    monkeypatch.setattr(module.arrow_parquet, "ParquetFile", counted)
    tables = results.tables()
    next(tables)
    assert opened == [part_name(0)]
    next(tables)
    assert opened == [part_name(0), part_name(2)]


def test_a_failed_merge_leaves_the_old_file(results: Results, tmp_path: Path) -> None:
    out = tmp_path / "cells.parquet"
    out.write_text("old")
    (results.folder / part_name(2)).unlink()
    with pytest.raises(ResultsError, match=r"part-000000002\.parquet is missing or damaged.*predict again"):
        results.write(out, tmp_path / "cells.csv")
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.parquet", "parts"]


# --- parts ------------------------------------------------------------------------------------------------------


def test_whole_parts_without_a_gap_are_kept(results: Results) -> None:
    assert whole_rows(results.folder) == 5
    assert len(list(results.folder.iterdir())) == 2


def test_no_part_is_no_row(tmp_path: Path) -> None:
    assert whole_rows(tmp_path) == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "other columns", "missing"])
def test_what_lies_behind_a_damaged_part_is_made_again(results: Results, damage: str) -> None:
    write_part(results.folder, 5, part_of(FIRST))
    part = results.folder / part_name(2)
    if damage == "cut":
        part.write_bytes(part.read_bytes()[:-100])
    elif damage == "empty":
        part.write_bytes(b"")
    elif damage == "missing":
        part.unlink()
    else:
        pq.write_table(SECOND.drop_columns("reason"), part)
    assert whole_rows(results.folder) == 2
    assert [path.name for path in results.folder.iterdir()] == [part_name(0)]


# --- patients ---------------------------------------------------------------------------------------------------


def test_each_patient_is_summed_over_all_parts(results: Results) -> None:
    write_part(results.folder, 5, table(("f.png", "C2", 0.8, "Parasitized", "", "", 9, 9)))
    write_part(results.folder, 6, table(("g.png", "C1", 0.2, "Uninfected", "", "", 9, 9)))
    expected = pd.DataFrame(
        {
            "patient_id": pd.Series(["C1", "C2", None], dtype="str"),
            "cells": [3, 3, 1],
            "called": [3, 1, 0],
            "refused": [0, 2, 1],
            "unreadable": [0, 0, 1],
            "parasitized": [1, 1, 0],
            "refused_at_threshold": [0, 1, 0],
            "apparent_parasitaemia": [1 / 3, 1.0, np.nan],
            "apparent_low": [1 / 3, 1 / 3, np.nan],
            "apparent_high": [1 / 3, 1.0, np.nan],
        }
    )
    whole = Results(results.folder, 7)
    pd.testing.assert_frame_equal(patient_summary(whole.frames(), 0.7), expected)
    without = expected.drop(columns="refused_at_threshold")
    pd.testing.assert_frame_equal(patient_summary(whole.frames()), without)


def test_a_refused_cell_at_the_threshold_is_compared_as_p_is_stored(results: Results) -> None:
    # 0.7 is less in float32, which p is stored in, than in float64, which the threshold may come in.
    assert patient_summary(results.frames(), np.float64(0.7))["refused_at_threshold"].tolist() == [0, 1, 0]


def test_patients_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    ids = ["001", "1", "NA", "null", "1e5", "True", "nan", "None", "=1"]
    rows = [(f"{number}.png", id_, 0.1, "Uninfected", "", "", 9, 9) for number, id_ in enumerate([*ids, None])]
    write_part(tmp_path, 0, table(*rows))
    found = patient_summary(Results(tmp_path, 10).frames())
    assert found["patient_id"].tolist()[:-1] == sorted(ids)
    assert pd.isna(found["patient_id"].iloc[-1])
    assert found["cells"].tolist() == [1] * 10


def test_no_name_is_a_formula_in_the_csv_and_the_parquet_file_has_it_as_it_is(tmp_path: Path) -> None:
    names = ["=1+1.png", "+x.png", "-x.png", "@x.png", "\tx.png", "'=x.png", "plain.png"]
    write_part(tmp_path, 0, table(*((name, name, 0.1, "Uninfected", "", name, 9, 9) for name in names)))
    Results(tmp_path, 7).write(tmp_path / "cells.parquet", tmp_path / "cells.csv")
    told = pd.read_csv(tmp_path / "cells.csv", keep_default_na=False)
    for column in ("path", "patient_id", "reason"):
        assert pq.read_table(tmp_path / "cells.parquet")[column].to_pylist() == names
        assert told[column].tolist() == [f"'{name}" for name in names[:-1]] + names[-1:]
        assert [spreadsheet_exact(text) for text in told[column]] == names


def test_the_table_tells_how_its_images_were_read(results: Results, tmp_path: Path) -> None:
    about = ReadingRequest("Zelle \udcb5", "f00d", None, "net/classifier", "weights 1", "torch", 0.3, "refuse", None)
    Results(results.folder, 5, about).write(tmp_path / "cells.parquet", tmp_path / "cells.csv")
    assert SavedResults(tmp_path / "cells.parquet").about == about
    results.write(tmp_path / "cells.parquet", tmp_path / "cells.csv")
    assert SavedResults(tmp_path / "cells.parquet").about is None


def test_a_table_of_an_earlier_version_does_not_tell_how_it_was_read(results: Results, tmp_path: Path) -> None:
    old = pa.concat_tables(results.tables()).rename_columns([name.replace("quality", "flags") for name in COLUMNS])
    pq.write_table(old.replace_schema_metadata({module.ABOUT: '{"threshold": 0.3}'}), tmp_path / "old.parquet")
    assert SavedResults(tmp_path / "old.parquet").about is None


def test_a_part_notes_which_rows_to_read_again(tmp_path: Path) -> None:
    write_part(tmp_path, 0, part_of(FIRST), [1])
    write_part(tmp_path, 2, part_of(SECOND))
    write_part(tmp_path, 5, part_of(SECOND), [0, 2])
    assert whole_rows(tmp_path) == 8
    assert list(rows_to_read_again(tmp_path, 8)) == [(0, [1]), (5, [0, 2])]
    assert list(rows_to_read_again(tmp_path, 5)) == [(0, [1])]


def test_frames_are_let_go_one_after_the_other() -> None:
    alive = 0

    class Frame(pd.DataFrame):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def frames() -> Iterator[pd.DataFrame]:
        nonlocal alive
        for _ in range(5):
            alive += 1
            assert alive <= 2  # the one before, and the one that is made
            yield Frame({"patient_id": ["C1"], "call": ["Parasitized"], "p_parasitized": [0.9]})

    assert patient_summary(frames())["cells"].tolist() == [5]


def test_no_rows_are_no_patients() -> None:
    summary = patient_summary([])
    assert len(summary) == 0
    assert summary.columns[0] == "patient_id"
    assert summary["cells"].dtype == "int64"


def test_patients_come_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    rows = [(f"{patient}.png", patient, 0.1, "Uninfected", "", "", 9, 9) for patient in ("C10", "C2", "C1")]
    write_part(tmp_path, 0, table(*rows))
    assert patient_summary(Results(tmp_path, 3).frames())["patient_id"].tolist() == ["C1", "C2", "C10"]


def test_images_of_equal_content_are_counted_across_parts(tmp_path: Path) -> None:
    rows = [("a", None, 0.5, "", "", "", width, 1, None) for width in (7, 8, None, 7, None, 8, 7)]
    write_part(tmp_path, 0, part_of(table(*rows[:4])))
    write_part(tmp_path, 4, part_of(table(*rows[4:])))
    assert Results(tmp_path, 7).count_equal() == 3
