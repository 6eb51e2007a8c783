"""The pipeline ``modeling``."""

from malaria_kedro.pipelines.modeling.pipeline import create_pipeline as create_pipeline
