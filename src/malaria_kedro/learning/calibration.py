"""Temperature scaling, calibration errors, and the threshold of the operating point."""

from __future__ import annotations

import numpy as np
import pandas as pd

from malaria_kedro.language import N_
from malaria_kedro.learning.metadata import TEMPERATURE_BOUNDS, Calibration
from malaria_kedro.names import CLASSES, PARASITIZED

BINS = 15
# The smallest step below 1 in double precision: nearer to 0 or 1, one of the two logits would be infinite.
SMALLEST = 2.0**-53
LARGEST_THRESHOLD = 1 - 2.0**-24


def labels_and_probabilities(
    rows: pd.DataFrame, where: str, column: str = "p_parasitized"
) -> tuple[np.ndarray, np.ndarray]:
    """Return which cells are parasitized (bool N), and their probability of being so (float64 N, 0-1).

    ``where`` tells in messages what the rows are, such as ``split 'valid'``; ``column`` has the probabilities.

    Raises:
        ValueError: for a missing column, an unknown label, or a probability that is not a number from 0 to 1.
    """
    if column not in rows:
        raise ValueError(f"the predictions of {where} have no column {column!r}; there are {list(rows.columns)}")
    labels = rows["label"].astype(str)
    if unknown := sorted(set(labels) - set(CLASSES)):
        raise ValueError(f"{where} has the labels {unknown}; known are {list(CLASSES)}")
    p = rows[column].to_numpy(dtype=float)
    if wrong := int((~((p >= 0) & (p <= 1))).sum()):
        raise ValueError(
            f"{column} of {wrong} of {len(rows)} cells in {where} is not a number from 0 to 1: "
            "the network diverged; train again with a lower lr_max"
        )
    return (labels == PARASITIZED).to_numpy(), p


def reliability_bins(p: np.ndarray) -> np.ndarray:
    """Return each probability's bin: int64 N, 0 to 14, of equal width; the last one includes 1."""
    return np.minimum((p * BINS).astype(np.int64), BINS - 1)


def expected_calibration_error(actual: np.ndarray, p: np.ndarray) -> float:
    """Return the mean gap between the probability of "parasitized" and the share that is (0-1, 0 is best).

    The gap of a bin is |mean p - share parasitized|, weighted with the bin's share of the cells (Naeini et al. 2015,
    "Obtaining Well Calibrated Probabilities Using Bayesian Binning", with 15 bins as in Guo et al. 2017). ``actual`` is
    bool N, True where the cell is parasitized, and ``p`` float64 N, 0-1; N is 1 or more.
    """
    # n_b/N * |mean p - share| is |sum p - sum actual| / N, and an empty bin adds nothing.
    gaps = np.bincount(reliability_bins(p), weights=p - actual, minlength=BINS)
    return float(np.abs(gaps).sum() / len(p))


def brier_score(actual: np.ndarray, p: np.ndarray) -> float:
    """Return the mean squared difference between probability and label (Brier 1950; 0-1, 0 is best)."""
    return float(np.mean((p - actual) ** 2))


def cross_entropy(actual: np.ndarray, p: np.ndarray) -> float:
    """Return the mean cross-entropy in nats; a wrong prediction with certainty counts about 37, not infinity."""
    right = np.where(actual, p, 1 - p)
    return float(-np.log(right.clip(SMALLEST, 1)).mean())


def apply_temperature(p: np.ndarray | pd.Series, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities by a temperature; their order and their side of 0.5 stay the same.

    Args:
        p: N probabilities, 0-1.
        temperature: above 1 makes them less confident, below 1 more; 1 changes nothing.

    Returns:
        float64 N, 0-1.

    Raises:
        ValueError: for a temperature that is not a positive number.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature {temperature} is not a positive number; calibrate again")
    p = np.asarray(p, dtype=float)
    if temperature == 1:
        return p.copy()
    from scipy.special import expit

    calibrated = expit(_logits(p) / temperature)
    # What is just below 0.5 may round to 0.5, which would be the other call.
    return np.where((p < 0.5) & (calibrated >= 0.5), np.nextafter(0.5, 0), calibrated)


def fit_temperature(actual: np.ndarray, p: np.ndarray) -> Calibration:
    """Fit the temperature with the least cross-entropy (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Only the difference of the two logits matters, and it is logit(p), so the table of predictions is enough: which
    cells are parasitized (bool N; none that trained), and the probability of that (float64 N, 0-1). Where the cells do
    not determine a temperature it stays 1, and ``notes`` say why.

    Raises:
        ValueError: there is no cell.
    """
    if not len(p):
        raise ValueError("no cell to fit a temperature on; give validation cells with split.valid_pct")
    logits = _logits(p)
    sign = np.where(actual, 1.0, -1.0)
    temperature, notes = 1.0, []
    if actual.all() or not actual.any():
        only = N_("every cell is parasitized") if actual.all() else N_("every cell is uninfected")
        notes.append(N_("temperature stays 1, because {reason}.").format(reason=only))
    elif np.ptp(p) == 0:
        same = N_("temperature stays 1, because every cell has the same prediction ({p}).")
        notes.append(same.format(p=f"{p[0]:g}"))
    elif (sign * logits >= 0).all():
        # The loss is then least at temperature 0, which is certainty because nothing was wrong here.
        right = N_("temperature stays 1, because no cell is on the wrong side of {half}: nothing tells how sure to be.")
        notes.append(right.format(half=0.5))
    else:
        temperature, reached = _least_loss(actual, logits)
        if reached:
            bound = N_("temperature {temperature} is the {bound} bound of the search; do not trust it.")
            notes.append(bound.format(temperature=f"{temperature:g}", bound=reached))
    calibrated = apply_temperature(p, temperature)
    return Calibration(
        method="temperature scaling",
        n=len(p),
        temperature=temperature,
        nll_before=_mean_nll(sign * logits),
        nll_after=_mean_nll(sign * logits / temperature),
        ece_before=expected_calibration_error(actual, p),
        ece_after=expected_calibration_error(actual, calibrated),
        brier_before=brier_score(actual, p),
        brier_after=brier_score(actual, calibrated),
        notes=notes,
    )


def choose_threshold(actual: np.ndarray, p: np.ndarray, target_sensitivity: float) -> Calibration:
    """Choose the highest threshold that still finds the target share of parasitized cells.

    ``actual`` is bool N, True where the cell is parasitized, and ``p`` float64 N, 0-1, the calibrated probability of
    that. The threshold is the probability of one of the parasitized cells; None, with a note, where there is none.

    Raises:
        ValueError: the target is not above 0 and up to 1.
    """
    if not 0 < target_sensitivity <= 1:
        raise ValueError(f"target_sensitivity {target_sensitivity} is not above 0 and up to 1")
    if not actual.any():
        note = N_("no threshold can be chosen, because no cell is parasitized.")
        return Calibration(target_sensitivity=target_sensitivity, notes=[note])
    falling = np.sort(p[actual])[::-1]
    # Compared as shares and not by rounding target times n, so that 49 of 50 are 0.98 whatever the last bit.
    needed = int(np.argmax(np.arange(1, len(falling) + 1) / len(falling) >= target_sensitivity))
    # Predictions are stored in float32, in which a threshold nearer to 1 would be 1.
    threshold = min(float(falling[needed]), LARGEST_THRESHOLD)
    if threshold == 0:
        note = N_("no threshold can be chosen: a parasitized cell that it has to find has probability 0.")
        return Calibration(target_sensitivity=target_sensitivity, notes=[note])
    called, notes = p >= threshold, []
    if actual.all():
        notes.append(N_("specificity at the chosen threshold is undefined, because no cell is uninfected."))
    elif called.all():
        every = N_("the chosen threshold calls every cell parasitized: nothing less reaches the target sensitivity.")
        notes.append(every)
    return Calibration(
        target_sensitivity=target_sensitivity,
        threshold=threshold,
        sensitivity=float(called[actual].mean()),
        specificity=None if actual.all() else float((~called[~actual]).mean()),
        notes=notes,
    )


def calibrate(predictions_valid: pd.DataFrame, target_sensitivity: float) -> Calibration:
    """Fit the temperature and choose the threshold on validation cells; test cells are refused.

    Args:
        predictions_valid: columns label, p_parasitized (0-1), and optionally split: ``valid`` throughout.
        target_sensitivity: the share of parasitized cells that the threshold has to find.

    Raises:
        ValueError: there are no cells, or a cell of another split, an unknown label, or a p_parasitized that is not a
            number from 0 to 1.
    """
    if "split" in predictions_valid and (other := sorted(set(predictions_valid["split"].astype(str)) - {"valid"})):
        raise ValueError(f"calibration is fitted on validation cells only, and there are cells of {other}")
    actual, p = labels_and_probabilities(predictions_valid, "split 'valid'")
    fitted = fit_temperature(actual, p)
    point = choose_threshold(actual, apply_temperature(p, fitted.temperature), target_sensitivity)
    chosen = {name: getattr(point, name) for name in ("target_sensitivity", "threshold", "sensitivity", "specificity")}
    return fitted.model_copy(update=chosen | {"fitted_on": "valid", "notes": fitted.notes + point.notes})


def describe_calibration(found: Calibration) -> str:
    """Describe in one line what ``calibrate`` found."""
    fit = (
        f"temperature {found.temperature:.3f} (calibration error {found.ece_before:.4f} before, "
        f"{found.ece_after:.4f} after, on the {found.n} validation cells it was fitted on)"
    )
    if found.threshold is None:
        return fit
    reached = f"sensitivity {found.sensitivity:.4f}"
    if found.specificity is not None:
        reached += f", specificity {found.specificity:.4f}"
    return f"{fit}; threshold {found.threshold:.4f} for {reached} there"


def _logits(p: np.ndarray) -> np.ndarray:
    from scipy.special import logit  # late, because `kedro registry list` imports this module

    return logit(p.clip(SMALLEST, 1 - SMALLEST))


def _mean_nll(right: np.ndarray) -> float:
    """Return the mean cross-entropy of logits in favour of each cell's class, without rounding to 0 or infinity."""
    return float(np.logaddexp(0, -right).mean())


def _least_loss(actual: np.ndarray, logits: np.ndarray) -> tuple[float, str]:
    """Return the best temperature within the bounds, and ``lower`` or ``upper`` where it is one of them.

    The loss is convex in 1/temperature, so its slope crosses zero once, and that crossing is found more exactly than
    the flat minimum itself.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    def slope(sharpness: float) -> float:
        return float(np.mean((expit(sharpness * logits) - actual) * logits))

    low, high = TEMPERATURE_BOUNDS
    if slope(1 / high) >= 0:
        return high, N_("upper")
    if slope(1 / low) <= 0:
        return low, N_("lower")
    return 1 / float(brentq(slope, 1 / high, 1 / low, xtol=1e-12)), ""
