"""From a classifier to its ONNX graphs."""

from __future__ import annotations

from typing import Any


def export_onnx(classifier: Any, databunch: Any) -> Any:
    """Export a classifier, quantise it on training cells, and judge int8 on held-out cells."""
    # torch and ONNX take seconds to import; only a run that exports should wait for them.
    from malaria_kedro.inference.onnx_graphs import export_graphs

    metadata = classifier.metadata
    databunch.require(
        metadata.data.fingerprint, f"classifier {metadata.name}", "int8 would be judged on cells that trained"
    )
    databunch.verify()
    return export_graphs(classifier, databunch)
