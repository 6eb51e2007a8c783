"""From trained classifiers to predictions, metrics, figures and the report."""

from malaria_kedro.pipelines.reporting.pipeline import create_pipeline as create_pipeline
