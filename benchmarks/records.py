"""Measured figures as JSON: one file per subject in ``benchmarks/results``, from which the documentation is rendered.

A file holds measurements by name, a measurement rows of figures. What is not known of a measurement is null.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import statistics
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from malaria_kedro.files import write_file

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "results"


class ResultsError(ValueError):
    """A file of results cannot be read, or a page needs a figure that none has."""


class Model(BaseModel):
    """Frozen; an unknown field and a number that is not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Figure(Model):
    """One measured quantity."""

    value: float | None = Field(description="the median, the mean or the only value; null = it does not exist")
    unit: str = Field(description='of value, low, high, sd and values; "" for counts and dimensionless scores')
    statistic: Literal["median", "mean"] | None = Field(None, description="what value is of n values")
    n: int | None = Field(None, ge=1, description="how many values, or the cells or images that were counted")
    low: float | None = None
    high: float | None = None
    spread: Literal["range", "95 % interval"] | None = Field(None, description="what low and high are")
    sd: float | None = Field(None, description="standard deviation")
    values: list[float] | None = Field(None, description="the single values, where they are kept")

    @model_serializer(mode="wrap")
    def _without_unknown(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return {key: value for key, value in write(self).items() if value is not None or key == "value"}


class Measurement(Model):
    """What was measured in one go, and where the figures come from."""

    what: str
    command: str | None
    hardware: str | None
    data: str | None = Field(description="the cells that were used")
    commit: str | None = Field(description="the code that was measured")
    stated_in: str | None = Field(description="the commit that first states the figures, where commit is not known")
    date: datetime.date | None = Field(description="of the measurement, or of stated_in")
    versions: dict[str, str] = Field(description="Python and packages, as far as they are known")
    setting: dict[str, str | int | float] = Field(description="sizes, batches, seeds and the like")
    rows: dict[str, dict[str, Figure]] = Field(description="row -> quantity -> figure")
    notes: list[str] = []


class Results(Model):
    """One file."""

    about: str
    measurements: dict[str, Measurement]


def figure_of(values: list[float], unit: str, statistic: Literal["median", "mean"] = "median") -> Figure:
    """Return what several values amount to, with their range."""
    if len(values) == 1:
        return Figure(value=values[0], unit=unit, n=1)
    middle = statistics.median(values) if statistic == "median" else statistics.fmean(values)
    return Figure(
        value=middle,
        unit=unit,
        statistic=statistic,
        n=len(values),
        low=min(values),
        high=max(values),
        spread="range",
        values=values,
    )


def read_results(path: Path) -> Results:
    """Read one file.

    Raises:
        ResultsError: it is not JSON of this form; the message says where.
    """
    try:
        return Results.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(f"{path} does not hold results: {error}") from error


def write_results(path: Path, results: Results) -> None:
    """Write one file, whole or not at all, one figure per line."""
    text = json.dumps(results.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\{[^{}]*\}", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    write_file(path, lambda beside: beside.write_text(text + "\n", encoding="utf-8"))


def add_save_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--save``: the results join those of the project, or those in another folder."""
    parser.add_argument(
        "--save",
        type=Path,
        nargs="?",
        const=FOLDER,
        metavar="FOLDER",
        help="write the results there as JSON; without a folder: benchmarks/results, from which the pages are rendered",
    )
