"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jinja2
import pandas as pd
import yaml

from malaria_kedro.cells.names import CLASSES
from malaria_kedro.interpretation.comparison import CITED_SOURCE, THIS_RUN, recipe_of
from malaria_kedro.interpretation.figures import SPLIT_NAMES
from malaria_kedro.interpretation.metrics import overfitting_onset

MISSING = "–"
# From so many cells on, the second decimal of a percentage is more than one cell.
CELLS_FOR_TWO_DECIMALS = 2000

_RULES = {
    "last": "the last epoch (select: last)",
    "best_valid_loss": "the epoch with the lowest validation loss (select: best_valid_loss)",
    "best_accuracy": "the epoch with the highest validation accuracy (select: best_accuracy)",
}


@dataclass(frozen=True)
class VariantReport:
    """What the report tells of one model variant.

    Attributes:
        card: the classifier's card.
        metrics: what ``measure`` found.
        history: a row an epoch: stage, epoch, train_loss, valid_loss, accuracy, error_rate, lr, seconds.
        figures: PNG bytes by name, shown in this order.
    """

    card: dict[str, Any]
    metrics: dict[str, Any]
    history: pd.DataFrame
    figures: dict[str, bytes]


@dataclass(frozen=True)
class Picture:
    """A figure as the page embeds it: an address that holds the bytes, its size in pixels, and words for it."""

    uri: str
    width: int
    height: int
    alt: str
    caption: str


def write_report(
    entries: list[VariantReport],
    comparison: pd.DataFrame,
    databunch_summary: dict[str, Any],
    *,
    figures: Mapping[str, bytes],
    parameters: Mapping[str, Any],
) -> str:
    """Write the page.

    Args:
        entries: the variants, in the order of the page.
        comparison: what ``compare_variants`` returned.
        databunch_summary: counts, patients, exclusions, fingerprint and origin of the data.
        figures: PNG bytes of figures of the data, by name (``batch_preview``).
        parameters: the resolved blocks that the variants share, by name.

    Returns:
        HTML with everything inside: no script, no font, no address to load.

    Raises:
        ValueError: where a figure is not a PNG.
    """
    page = _environment().get_template("report.html.j2")
    return page.render(
        data=databunch_summary,
        shared=_shared_patients(databunch_summary),
        splits=[split for split in SPLIT_NAMES if split in databunch_summary.get("counts", {})],
        pictures=[_data_picture(name, png, databunch_summary) for name, png in figures.items()],
        variants=[_variant(entry, number) for number, entry in enumerate(entries, start=1)],
        comparison=[_comparison_row(row) for row in comparison.to_dict("records")],
        versions=_common([entry.card.get("versions", {}) for entry in entries]),
        hardware=_common([entry.card.get("hardware", {}) for entry in entries]),
        parameters=dict(parameters),
    )


def percent(value: Any, n: Any = None) -> str:
    """Format a share: two decimals where n cells carry them, else one."""
    return MISSING if _missing(value) else f"{value * 100:.{2 if n and n >= CELLS_FOR_TWO_DECIMALS else 1}f} %"


def count(value: Any) -> str:
    """Format a whole number with a space between thousands (thin and unbreakable)."""
    return MISSING if _missing(value) else f"{int(value):,}".replace(",", "\u202f")


def decimals(value: Any, digits: int = 4) -> str:
    """Format a loss or an area with a fixed number of decimals."""
    return MISSING if _missing(value) else f"{value:.{digits}f}"


def rate(value: Any) -> str:
    """Format a learning rate with two significant digits."""
    return MISSING if _missing(value) else f"{value:.2g}"


def duration(value: Any) -> str:
    """Format seconds as people say them: 4.2 s, 3 min 20 s, 2 h 05 min."""
    if _missing(value):
        return MISSING
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def text(value: Any) -> str:
    """Format anything else; what is missing is a dash."""
    return MISSING if _missing(value) or value == "" else str(value)


def as_yaml(value: Any) -> str:
    """Write parameters the way conf/ has them."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)


def _missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("malaria_kedro.interpretation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Iterable[Callable[..., str]] = (percent, count, decimals, rate, duration, text, as_yaml)
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals |= {"classes": CLASSES, "split_names": SPLIT_NAMES}
    return environment


def _variant(entry: VariantReport, number: int) -> dict[str, Any]:
    card, onset = entry.card, overfitting_onset(entry.history)
    selected = card["selected"]
    late = (
        onset is not None
        and onset["rose"]
        and selected["stage"] == onset["stage"]
        and selected["epoch"] > onset["epoch"]
    )
    return {
        "id": f"variant-{number}",
        "card": card,
        "recipe": recipe_of(card),
        "metrics": entry.metrics,
        "why": _RULES.get(selected["rule"], f"the epoch asked for (select: {selected['rule']})"),
        "onset": onset,
        "late": late,
        "history": [_history_row(row, selected, onset) for row in entry.history.to_dict("records")],
        "pictures": [_variant_picture(name, png, entry, onset) for name, png in entry.figures.items()],
    }


def _history_row(row: dict[str, Any], selected: dict[str, Any], onset: dict[str, Any] | None) -> dict[str, Any]:
    def is_of(mark: dict[str, Any] | None) -> bool:
        return mark is not None and row["stage"] == mark["stage"] and row["epoch"] == mark["epoch"]

    marks = [mark for mark, holds in (("exported", is_of(selected)), ("lowest validation loss", is_of(onset))) if holds]
    return row | {"exported": is_of(selected), "marks": ", ".join(marks)}


def _comparison_row(row: dict[str, Any]) -> dict[str, Any]:
    cited = row["source"] == CITED_SOURCE
    selected = (
        None
        if _missing(row["selected_epoch"])
        else f"{row['selected_stage'].replace('_', ' ')}, {int(row['selected_epoch'])}"
    )
    return row | {
        "cited": cited,
        "selected": selected,
        "strategy": row["split_strategy"],
        # The tutorial prints one decimal; writing two would claim more than it tells.
        "n_digits": row["n"] if row["source"] == THIS_RUN else None,
    }


def _shared_patients(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Say for each pair of splits how many patients stand on both sides."""
    patients = summary.get("patients") or {}
    sentences = []
    for pair, shared in (summary.get("shared_patients") or {}).items():
        one, other = pair.split("/")
        if _missing(shared) or not patients.get(one) or not patients.get(other):
            continue
        of = patients[other]
        sentences.append(
            {
                "leaks": shared > 0,
                "sentence": f"{shared} of {of} {SPLIT_NAMES.get(other, other)} patients shared with "
                f"{SPLIT_NAMES.get(one, one)}.",
            }
        )
    return sentences


def _data_picture(name: str, png: bytes, summary: dict[str, Any]) -> Picture:
    kind = "phantom cells" if summary.get("phantom") else "cells"
    if name == "batch_preview":
        cells = sum(summary.get("counts", {}).get("train", {}).values())
        alt = f"A grid of {kind} from the {count(cells)} training cells, each under its label."
        return _picture(png, alt, "A batch as the network sees it: resized and augmented.")
    title = name.replace("_", " ").capitalize()
    return _picture(png, f"{title} of the {kind}.", f"{title}.")


def _variant_picture(name: str, png: bytes, entry: VariantReport, onset: dict[str, Any] | None) -> Picture:
    variant, splits, threshold = entry.card["name"], entry.metrics["splits"], entry.metrics["threshold"]
    if name == "confusion_matrix":
        panels = [_confusion_in_words(split, values) for split, values in splits.items()]
        alt = f"Confusion matrix of {variant} at threshold {threshold:g}. {' '.join(panels)}"
        return _picture(png, alt, "Actual against predicted class: counts, and the share of the actual class.")
    if name == "loss_curves":
        alt = f"Loss curves of {variant}. {_history_in_words(entry.history)} {onset['sentence'] if onset else ''}"
        caption = "Training and validation loss over batches (logarithmic); below, the learning rate of the head."
        return _picture(png, alt.strip(), caption)
    if name == "top_losses":
        valid = splits["valid"]
        missed, alarms = valid["confusion"]["fn"], valid["confusion"]["fp"]
        alt = (
            f"The validation cells with the greatest loss, by {variant}. Of {count(valid['n'])} cells "
            f"{count(missed + alarms)} are predicted wrongly: {count(missed)} parasitized cells missed, "
            f"{count(alarms)} uninfected cells called parasitized."
        )
        caption = (
            "The worst validation cells: prediction / actual / loss / probability of the predicted class; cell id."
        )
        return _picture(png, alt, caption)
    title = name.replace("_", " ").capitalize()
    accuracy = percent(splits["valid"]["accuracy"], splits["valid"]["n"])
    return _picture(png, f"{title} of {variant}, validation accuracy {accuracy}.", f"{title}.")


def _confusion_in_words(split: str, values: dict[str, Any]) -> str:
    counts = {key: count(number) for key, number in values["confusion"].items()}
    return (
        f"{SPLIT_NAMES[split].capitalize()}, {count(values['n'])} cells: {counts['tp']} parasitized cells found, "
        f"{counts['fn']} missed, {counts['tn']} uninfected cells left alone, {counts['fp']} called parasitized."
    )


def _history_in_words(history: pd.DataFrame) -> str:
    if history.empty:
        return "No epoch was trained."
    train, valid = (
        f"{decimals(history[loss].iloc[0])} to {decimals(history[loss].iloc[-1])}"
        for loss in ("train_loss", "valid_loss")
    )
    return f"Over {len(history)} epochs training loss went from {train}, validation loss from {valid}."


def _picture(png: bytes, alt: str, caption: str) -> Picture:
    # A PNG begins with eight fixed bytes, and its first chunk (IHDR) with width and height.
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"the figure for {caption!r} is not a PNG (it begins with {png[:8]!r}); draw it again")
    width, height = struct.unpack(">II", png[16:24])
    return Picture(f"data:image/png;base64,{base64.b64encode(png).decode()}", width, height, alt, caption)


def _common(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge what the variants' cards say; where two differ, both values are kept, told apart by a slash."""
    merged: dict[str, Any] = {}
    for block in blocks:
        for key, value in block.items():
            if key in merged and merged[key] != value:
                value = f"{merged[key]} / {value}" if str(value) not in str(merged[key]).split(" / ") else merged[key]
            merged[key] = value
    return merged
