"""The pipeline ``data_engineering``."""

from malaria_kedro.pipelines.data_engineering.pipeline import create_pipeline as create_pipeline
