"""The pipeline ``modeling``."""

from malaria_kedro.pipelines.modeling.pipeline import create_pipeline

__all__ = ["create_pipeline"]
