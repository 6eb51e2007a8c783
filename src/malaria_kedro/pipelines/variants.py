"""Runs that report on, or export, the variants that are trained, and leave out those that are not."""

from __future__ import annotations

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from malaria_kedro.pipelines import reporting

# What a run for several variants asks each of them for.
NEEDED = ("classifier", "report_section")


def leave_out_untrained(
    pipeline: Pipeline, catalog: DataCatalog, variants: tuple[str, ...]
) -> tuple[Pipeline, list[str]]:
    """Return a pipeline without the variants that it asks for and that have no classifier, and their names.

    What compares variants compares the others. Where no other variant is asked for, nothing is left out: a run for that
    variant alone is to fail, and to say why.
    """
    asked = pipeline.inputs()
    untrained = [
        variant
        for variant in variants
        if not _is_there(catalog, f"{variant}.classifier")
        and any(f"{variant}.{name}" in asked and not _is_there(catalog, f"{variant}.{name}") for name in NEEDED)
    ]
    if not untrained:
        return pipeline, []
    others = tuple(variant for variant in variants if variant not in untrained)
    rebuilt = {node.name: node for node in reporting.create_pipeline(others).nodes}
    prefixes, of_others = (tuple(f"{variant}." for variant in some) for some in (untrained, others))
    kept = [
        rebuilt.get(node.name, node)
        for node in pipeline.nodes
        if not any(name.startswith(prefixes) for name in node.outputs)
    ]
    if not any(name.startswith(of_others) for name in Pipeline(kept).datasets()):
        return pipeline, []
    return Pipeline(kept), untrained


def _is_there(catalog: DataCatalog, name: str) -> bool:
    version = getattr(catalog.get(name), "_version", None)
    named = version is not None and version.load is not None  # by --load-versions: to be told if it is not there
    return named or catalog.exists(name)
