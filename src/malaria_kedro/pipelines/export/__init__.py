"""The pipeline ``export``."""

from malaria_kedro.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
