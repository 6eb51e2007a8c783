"""From a classifier to its ONNX graph; the dataset exports, compares and quantises as planned here."""

from __future__ import annotations

from typing import Any


def plan_onnx(classifier: Any, databunch: Any) -> Any:
    """Plan the export; the cells are what int8 is quantised with, and judged on.

    Raises:
        OtherDataError: the classifier was trained on other cells than the databunch has.
        PixelError: the cells' pixels have changed since they were decoded.
    """
    from malaria_kedro.inference.onnx_plan import OnnxPlan

    card = classifier.card
    databunch.require(
        card["data"]["fingerprint"], f"classifier {card['name']}", "int8 would be judged on cells that trained"
    )
    databunch.verify()
    return OnnxPlan(classifier, databunch)
