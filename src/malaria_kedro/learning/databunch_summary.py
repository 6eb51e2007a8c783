"""What a databunch says about its cells, in ``databunch.json`` and as ``data`` of every checkpoint and classifier.

Imports no torch, because the report and the figures read it, too.
"""

from __future__ import annotations

from pydantic import Field, JsonValue

from malaria_kedro.learning.stored import StoredModel


class EqualCells(StoredModel):
    """How many cells show a picture that other cells show as well."""

    n_cells: int  # that share their picture with another one
    n_pictures: int  # that these cells show
    n_across_patients: int = 0  # pictures of two or more known patients, so names or patients are wrong


class DataBunchSummary(StoredModel):
    """Origin, counts and fingerprint of a databunch; it names no patient. Only the fingerprint is always there."""

    fingerprint: str  # sha256 of images, labels and splits
    pixels_fingerprint: str = ""  # sha256 of what was decoded, and how
    array_sha256: str = ""  # of the pixel array
    labels_sha256: str | None = None  # of cell ids and labels
    phantom: bool = False
    origin: str | None = None  # what the report calls the source
    image_size: int | None = None
    bit_depth: int | None = None  # of the values in 16-bit image files; None = there is none
    classes: list[str] = Field(default_factory=list)
    counts: dict[str, dict[str, int]] = Field(default_factory=dict)  # cells by split and class
    patients: dict[str, int] = Field(default_factory=dict)
    n_patients: int | None = None  # in all splits; 0 = not known
    shared_patients: dict[str, int] = Field(default_factory=dict)  # by pair of splits (``train/valid``)
    shared_pictures: dict[str, int] | None = None  # likewise
    equal_cells: EqualCells | None = None
    excluded: dict[str, int] = Field(default_factory=dict)  # cells that are not used, by reason
    ignored: dict[str, int] | None = None  # images that did not become cells, by reason; None = not counted
    tables: dict[str, int] = Field(default_factory=dict)  # what was counted of tables of labels and patients
    strategy: str | None = None
    # As written, not as blocks: other versions have other parameters, and their classifiers stay readable.
    split: dict[str, JsonValue] = Field(default_factory=dict)  # of a cross-validation: the fold
    augment: dict[str, JsonValue] = Field(default_factory=dict)


class ListedCell(StoredModel):
    """An excluded cell; ``excluded`` is the reason."""

    cell_id: str
    label: str
    patient_id: str | None
    excluded: str


class EqualPicture(StoredModel):
    """A picture that ``n_cells`` cells show; ``cell_ids`` has the first of them, ``patients`` the known ones."""

    cell_ids: list[str]
    n_cells: int
    label: str
    patients: list[str]


class ListedCells(StoredModel):
    """The first excluded cells, by reason, and the first pictures that several cells show.

    They name patients, so they stay with the data: a ``DataBunchSummary`` goes into classifiers, this does not.
    """

    excluded: dict[str, list[ListedCell]] = Field(default_factory=dict)
    equal: list[EqualPicture] = Field(default_factory=list)
