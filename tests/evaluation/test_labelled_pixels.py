"""What is measured and drawn of a databunch is what a databunch has."""

from __future__ import annotations

from malaria_kedro.evaluation.labelled_pixels import LabelledPixels


def test_a_databunch_has_all_of_it(phantom_bunch) -> None:
    bunch: LabelledPixels = phantom_bunch
    assert (len(bunch.pixels), bunch.pixels.dtype) == (len(bunch.cells), "uint8")
    assert {"cell_id", "patient_id", "label", "split"} <= set(bunch.cells.columns)
    assert bunch.rows("valid").tolist() == [row for row, part in enumerate(bunch.cells["split"]) if part == "valid"]
