"""The pipeline ``learning_rate``."""

from malaria_kedro.pipelines.learning_rate.pipeline import create_pipeline as create_pipeline
