"""The project's pipelines by name; ``kedro run`` without a name runs the three of the main line."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from malaria_kedro.pipelines import (
    cross_validation,
    data_engineering,
    export,
    inference,
    learning_rate,
    modeling,
    reporting,
)
from malaria_kedro.settings import VARIANTS


def register_pipelines() -> dict[str, Pipeline]:
    """Return all pipelines by name."""
    main_line = {
        "data_engineering": data_engineering.create_pipeline(),
        "modeling": modeling.create_pipeline(VARIANTS),
        "reporting": reporting.create_pipeline(VARIANTS),
    }
    return {
        "__default__": sum(main_line.values(), start=Pipeline([])),
        **main_line,
        "cross_validation": cross_validation.create_pipeline(),
        "export": export.create_pipeline(VARIANTS),
        "inference": inference.create_pipeline(),
        "learning_rate": learning_rate.create_pipeline(VARIANTS),
    }
