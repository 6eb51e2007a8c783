"""From an archive of cell images to a DataBunch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from malaria_kedro.language import written_in
from malaria_kedro.parameters import Augment, Evaluation, Image, Report, Source, Split
from malaria_kedro.pipelines.types import CellArchive, CellFolder, CellPixels, DataBunch, DecodedCells, Table


def choose_archive(raw_folder: Path, source: Source) -> CellArchive:
    """Find, draw or download the archive."""
    from malaria_kedro.cells.archive import acquire
    from malaria_kedro.cells.tables import read_patients

    read_patients(source)  # with the labels: a wrong table is named before a download
    return acquire(source, raw_folder)


def unpack_archive(archive: CellArchive, unpacked_folder: Path, source: Source) -> CellFolder:
    """Unpack the archive, once."""
    from malaria_kedro.cells.tables import read_labels
    from malaria_kedro.cells.unpack import unpack

    return unpack(
        archive,
        unpacked_folder,
        max_unpacked_bytes=source.max_unpacked_bytes,
        max_ignored_pct=source.max_ignored_pct,
        class_names=source.class_names,
        table=read_labels(source),
    )


def build_index(folder: CellFolder, source: Source) -> Table:
    """List, read and attribute every cell."""
    from malaria_kedro.cells.index import index_cells
    from malaria_kedro.cells.tables import identify, read_labels, read_patients

    folder.require_labels(source.class_names or {}, read_labels(source))
    index = index_cells(
        folder.root,
        cells=folder.cells(),
        patient_pattern=source.patient_pattern,
        patients=read_patients(source),
        max_missing_pct=source.max_ignored_pct,
        limit=source.limit,
        max_broken_pct=source.max_broken_pct,
        exclude=Path(source.exclude) if source.exclude else None,
    )
    index.attrs["source"] = identify(source)
    return index


def assign_splits(index: Table, split: Split, source: Source) -> Table:
    """Put each cell into one split."""
    from malaria_kedro.cells.splits import split_cells
    from malaria_kedro.cells.tables import refuse_other_source

    refuse_other_source(index, source)
    return split_cells(index, split)


def decode_cells(folder: CellFolder, index: Table, image: Image) -> DecodedCells:
    """Decode every used cell, one by one while the dataset writes them."""
    from malaria_kedro.cells import pixels

    return pixels.decode_cells(folder.root, index, image)


def make_databunch(
    folder: CellFolder,
    index: Table,
    splits: Table,
    pixels: CellPixels,
    augment: Augment,
    split: Split,
    source: Source,
) -> DataBunch:
    """Join everything that modeling needs."""
    from malaria_kedro.cells.tables import refuse_other_source
    from malaria_kedro.learning import databunch

    refuse_other_source(index, source)
    return databunch.make_databunch(
        index,
        splits,
        pixels,
        augment=augment,
        split=split,
        origin=folder.archive.origin,
        phantom=folder.archive.phantom,
        ignored=folder.ignored_by_reason(),
        tables=(folder.table.notes() if folder.table else {}) | index.attrs.get("tables", {}),
    )


def preview_batch(bunch: DataBunch, split: Split, evaluation: Evaluation, report: Report) -> Any:
    """Draw 5 × 5 augmented training cells."""
    from malaria_kedro.figures.cells import draw_batch_preview
    from malaria_kedro.figures.style import Look
    from malaria_kedro.learning.loaders import preview_batch

    images, labels = preview_batch(bunch, 25, seed=split.seed)
    with written_in(report.language):
        return draw_batch_preview(images, labels, Look(evaluation.figure_style, phantom=bunch.phantom))
