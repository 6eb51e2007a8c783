"""From a classifier to its ONNX graph; the dataset exports, compares and quantises as planned here."""

from __future__ import annotations

from typing import Any

from malaria_kedro.errors import MalariaKedroError


class ExportError(MalariaKedroError, ValueError):
    """A classifier cannot be exported with these cells; the message says why and what to do."""


def plan_onnx(classifier: Any, databunch: Any) -> Any:
    """Plan the export; the cells are what int8 is quantised with, and judged on.

    Raises:
        ExportError: the classifier was trained on other cells than the databunch has.
        PixelError: the cells' pixels have changed since they were decoded.
    """
    from malaria_kedro.inference.onnx_plan import OnnxPlan

    trained_on = classifier.card["data"]["fingerprint"]
    if trained_on != databunch.fingerprint:
        raise ExportError(
            f"classifier {classifier.card['name']} was trained on other data ({trained_on[:12]}) than this databunch "
            f"({databunch.fingerprint[:12]}), so int8 would be judged on cells that trained; run with the parameters "
            "of that training, or train again (kedro run --pipeline modeling)"
        )
    databunch.verify()
    return OnnxPlan(classifier, databunch)
