"""The measurements as they lie on disk: models of ``metrics.json`` and of the files beside it.

What was not measured is absent from a file, what is undefined is null; no value is ever NaN, so the JSON is strict.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from malaria_kedro.learning.metadata import Calibration, SelectedEpoch

Interval = tuple[float, float]


class Record(BaseModel):
    """Part of a JSON file; written without the fields that were never set."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Confusion(Record):
    """Counts of cells; parasitized is the positive class."""

    tp: int
    fn: int
    fp: int
    tn: int


class Scores(Record):
    """Metrics of some cells, from 0 to 1 unless another range is given."""

    accuracy: float | None = None
    error_rate: float | None = None
    balanced_accuracy: float | None = None
    sensitivity: float | None = None  # share of the parasitized cells that are found
    specificity: float | None = None  # share of the uninfected cells that are left alone
    precision: float | None = None  # positive predictive value
    npv: float | None = None  # negative predictive value
    f1: float | None = None
    mcc: float | None = None  # Matthews correlation coefficient, -1 to 1
    roc_auc: float | None = None
    average_precision: float | None = None
    loss: float | None = None  # mean cross-entropy, nats
    brier: float | None = None
    ece: float | None = None  # expected calibration error, 15 bins

    def score(self, name: str) -> float | None:
        """Return the metric of this name."""
        return getattr(self, name)


class MeasuredCells(Scores):
    """The metrics of a set of cells and its size; ``n_patients`` is None where no patient is known."""

    n: int
    n_parasitized: int
    n_patients: int | None


class Draws(Record):
    """How intervals were drawn: ``unit`` is ``patient`` or ``cell``, ``units`` how many there are."""

    unit: str
    units: int
    draws: int
    seed: int
    level: float


class SplitMetrics(MeasuredCells):
    """What ``measure`` finds in one split.

    ``intervals`` has one for each metric, None where too few draws define it; ``calibrated`` has brier, ece and loss of
    the calibrated probabilities, where there are any.
    """

    confusion: Confusion
    intervals: dict[str, Interval | None] = {}
    bootstrap: Draws | None = None
    calibrated: Scores | None = None


class Measurement(Record):
    """Calls at one threshold of ``column``, split by split; ``notes`` says why a value is undefined."""

    positive_class: str
    column: str = "p_parasitized"
    threshold: float
    splits: dict[str, SplitMetrics]
    notes: list[str]

    @property
    def main_split(self) -> str:
        """The split whose numbers come first: test where cells were held out for it, else validation."""
        return "test" if "test" in self.splits else "valid"


class CallsAt(NamedTuple):
    """What is called parasitized from a threshold of p(parasitized) on: parasitized cells found, and false alarms."""

    threshold: float
    found: int
    alarms: int


class ThresholdSweep(Record):
    """The calls in one split at many thresholds of the calibrated p, rising.

    ``roc`` has the corners of the ROC curve, as false-positive rate and sensitivity; none where a class has no cell.
    """

    split: str
    n_parasitized: int
    n_uninfected: int
    roc: list[tuple[float, float]]
    calls: list[CallsAt]


class FalsePositiveFloor(Record):
    """The parasitaemia that the healthy patients of a split show, below which a real one cannot be seen."""

    n_patients: int
    n_healthy: int  # those without a parasitized cell
    false_positive_rate: float | None  # of the uninfected cells of all patients, 0-1
    healthy_mean: float | None  # of the healthy patients' rates, each counting once, 0-1
    healthy_sd: float | None  # n - 1
    healthy_min: float | None
    healthy_max: float | None
    flagged_of_5000: float | None  # false alarms to expect among so many uninfected cells
    sentence: str
    notes: list[str]  # why a value cannot be told


class ClassifierIdentity(Record):
    """What tells a classifier from others: its training, the exported epoch, and how it was calibrated."""

    training_id: str | None = None
    stage: str | None = None
    epoch: int | None = None
    temperature: float | None = None

    def __str__(self) -> str:
        training = str(self.training_id)[:12]
        return f"training {training}, {self.stage}, epoch {self.epoch}, temperature {self.temperature}"


class MeasuredClassifier(ClassifierIdentity):
    """The classifier that metrics are of."""

    name: str
    selected: SelectedEpoch
    versions: dict[str, str]
    data_fingerprint: str
    phantom: bool


class PredictionCost(Record):
    """What a prediction pass took; ``ms_per_cell`` in batches."""

    classifier: ClassifierIdentity = ClassifierIdentity()
    n: int
    seconds: float
    ms_per_cell: float
    device: str


class Cost(Record):
    """What a classifier costs to keep, train and run."""

    n_parameters: int | None
    weights_bytes: int
    train_seconds: float | None
    ms_per_cell: float
    device: str


class Metrics(Measurement):
    """All that is measured of a classifier."""

    classifier: MeasuredClassifier
    calibration: Calibration | None
    operating_point: Measurement | None  # the calls at the stored threshold; None where there is none
    patients: dict[str, FalsePositiveFloor]  # of each split
    cost: Cost


class FoldMetrics(MeasuredCells):
    """One fold of one seed (both as they are named in the table of predictions)."""

    seed: int
    fold: int


class ProtocolMetrics(Record):
    """A cross-validation by one protocol; the numbers of patients are None where no patient is known."""

    n: int
    n_patients: int | None
    shared_patients: int | None  # the most that were in both splits of a fold
    folds: list[FoldMetrics]
    mean: Scores  # over the folds; what no fold defines is None
    sd: Scores  # of the sample of folds; None for a single value
    pooled: SplitMetrics  # all cells together, each with its mean over the seeds


class FoldMeasurement(Record):
    """What ``measure_folds`` finds, protocol by protocol; ``notes`` says why a value is undefined."""

    threshold: float
    protocols: dict[str, ProtocolMetrics]
    notes: list[str]


class LabelledImages(Record):
    """The images of one label: how many were called what, and how many were not called."""

    images: int
    parasitized: int
    uninfected: int
    refused: int
    unreadable: int  # of those that were not called


class ExternalMetrics(Record):
    """How well a classifier called new images whose labels are known; a file of its own, ``metrics.json``.

    ``called`` has the metrics of the labelled images that were called, None where none was.
    """

    positive_class: str
    threshold: float  # of the calibrated probability
    labels: dict[str, LabelledImages]  # of each class
    unlabelled: int
    called: SplitMetrics | None
    how: list[str]  # how labels were read, and what was assumed
    notes: list[str]  # why a value is undefined or uncertain
    classifier: str | None = None  # its folder
    images: str | None = None


class CrossValidationMetrics(FoldMeasurement):
    """A cross-validation and what was trained for it; ``train_seconds`` by protocol, ``epochs`` of each fold."""

    variant: str
    architecture: str
    folds: int
    seeds: list[int]
    phantom: bool
    origin: str | None
    data_fingerprint: str
    labels_sha256: str | None
    image_size: int
    epochs: int
    train_seconds: dict[str, float]
