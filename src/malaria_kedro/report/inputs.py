"""What the report says about one model variant, as it lies on disk between its pipeline and the page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from pydantic import BaseModel, ConfigDict

from malaria_kedro.evaluation.measurements import Measurement, Metrics, ThresholdSweep
from malaria_kedro.evaluation.metrics import OverfittingOnset, overfitting_onset
from malaria_kedro.learning.databunch_summary import DataBunchSummary
from malaria_kedro.learning.description import EpochRow
from malaria_kedro.learning.metadata import ClassifierMetadata


class _Stored(BaseModel):
    # A diverged loss is a number of this project's too, and JSON has none for it.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings", ser_json_bytes="base64", val_json_bytes="base64")


class RunRecord(_Stored):
    """What a page says of the run that wrote it.

    Attributes:
        written: date and time.
        run: the version of all that the run saved; None = unknown.
        version: of malaria-kedro.
        commit: of its source; None where there is no git.
    """

    written: str
    run: str | None
    version: str
    commit: str | None


class Patient(_Stored):
    """A row of the table of patients; see ``malaria_kedro.evaluation.patients.patient_table``."""

    split: str
    patient_id: str
    cells: int
    parasitized_cells: int
    flagged_cells: int
    labelled_parasitaemia: float
    apparent_parasitaemia: float
    false_positive_rate: float
    healthy: bool


class VariantReport(_Stored):
    """All that the page and the comparison need of a variant.

    Attributes:
        metadata: the classifier's metadata.
        metrics: what was measured.
        history: one entry per epoch.
        onset: where validation loss turned; None where no epoch has a finite one.
        figures: PNG bytes by name; those that the report knows stand in their sections, others behind the curves.
        patients: one entry per split and patient; none where no patient is known.
        version: of the classifier's folder; None where it has none.
        sweep: the calls at every threshold in the split whose numbers come first; None = not counted.
    """

    metadata: ClassifierMetadata
    metrics: Metrics
    history: list[EpochRow]
    onset: OverfittingOnset | None
    figures: dict[str, bytes]
    patients: list[Patient] = []
    version: str | None = None
    sweep: ThresholdSweep | None = None

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.metadata.name

    @property
    def operating_point(self) -> Measurement | None:
        """The calls at the stored threshold; None where no threshold could be chosen, or none was."""
        calibration = self.metrics.calibration
        return self.metrics.operating_point if calibration and calibration.threshold is not None else None


def gather_variant(
    metadata: ClassifierMetadata,
    metrics: Metrics,
    history: pd.DataFrame,
    figures: Mapping[str, bytes],
    patients: pd.DataFrame | None = None,
    *,
    version: str | None = None,
    sweep: ThresholdSweep | None = None,
) -> VariantReport:
    """Gather what the report says about a variant: its ``history`` has a row per epoch; the rest may be missing."""
    return VariantReport.model_validate(
        {
            "metadata": metadata,
            "metrics": metrics,
            "history": list(history[list(EpochRow._fields)].itertuples(index=False)),
            "onset": overfitting_onset(history),
            "figures": figures,
            "patients": [] if patients is None else patients.to_dict("records"),
            "version": version,
            "sweep": sweep,
        }
    )


def all_patients_disjoint(summary: DataBunchSummary) -> bool | None:
    """Tell whether no patient is in two splits; None where that is not known."""
    pairs = known_pairs(summary)
    return not any(shared for shared in pairs.values()) if pairs else None


def known_pairs(summary: DataBunchSummary) -> dict[str, int]:
    """Return the pairs of splits that both have known patients (``train/valid``), and how many these share."""
    return {
        pair: shared
        for pair, shared in summary.shared_patients.items()
        if all(summary.patients.get(split) for split in pair.split("/"))
    }
