"""The pipeline ``export``."""

from malaria_kedro.pipelines.export.pipeline import create_pipeline as create_pipeline
