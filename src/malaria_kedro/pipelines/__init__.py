"""The pipelines: thin nodes, and pipeline files that read as tables of contents."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, node


def step(function: Callable[..., Any], inputs: Any, outputs: Any, **options: Any) -> Node:
    """Return a node that has the name of its function."""
    return node(function, inputs, outputs, name=function.__name__, **options)
