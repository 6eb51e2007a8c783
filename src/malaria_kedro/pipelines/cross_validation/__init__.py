"""The pipeline ``cross_validation``."""

from malaria_kedro.pipelines.cross_validation.pipeline import create_pipeline as create_pipeline
