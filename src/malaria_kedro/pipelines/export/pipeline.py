"""classifier → onnx, once for each variant."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from malaria_kedro.pipelines.export import nodes


def create_pipeline(variants: tuple[str, ...]) -> Pipeline:
    """Return the pipeline; it is not part of ``kedro run`` without a name."""
    return sum((_export(variant) for variant in variants), start=Pipeline([]))


def _export(variant: str) -> Pipeline:
    template = [node(nodes.export_onnx, ["classifier", "databunch"], "onnx", name="export_onnx")]
    return Pipeline(template, namespace=variant, inputs="databunch")
