"""The pipeline ``inference``."""

from malaria_kedro.pipelines.inference.pipeline import create_pipeline as create_pipeline
