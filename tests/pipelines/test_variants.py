"""A run reports on the variants that are trained, and leaves out the others."""

from __future__ import annotations

import logging

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline

from malaria_kedro.hooks import VariantHooks
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.pipelines.variants import leave_out_untrained
from malaria_kedro.settings import VARIANTS

PIPELINES = register_pipelines()


def catalog(*trained: str) -> DataCatalog:
    """Return a catalog with the classifiers of these variants, and with no other one."""
    names = [f"{variant}.{name}" for variant in VARIANTS for name in ("classifier", "report_section")]
    there = {f"{variant}.classifier" for variant in trained}
    return DataCatalog({name: MemoryDataset("there") if name in there else MemoryDataset() for name in names})


def variants_in(pipeline: Pipeline) -> set[str]:
    return {name.split(".")[0] for name in pipeline.datasets() if name.startswith(VARIANTS)}


@pytest.mark.parametrize("name", ["reporting", "export"])
@pytest.mark.parametrize("trained", VARIANTS)
def test_the_variant_that_is_trained_is_reported_on_and_exported(name, trained):
    kept, untrained = leave_out_untrained(PIPELINES[name], catalog(trained), VARIANTS)
    assert untrained == [variant for variant in VARIANTS if variant != trained]
    assert variants_in(kept) == {trained}
    assert ("report" in kept.outputs()) == (name == "reporting")


@pytest.mark.parametrize("name", ["reporting", "export"])
@pytest.mark.parametrize("trained", [VARIANTS, ()], ids=["all", "none"])
def test_nothing_is_left_out_of_a_run_for_all_or_none(name, trained):
    assert leave_out_untrained(PIPELINES[name], catalog(*trained), VARIANTS) == (PIPELINES[name], [])


@pytest.mark.parametrize("name", sorted({*PIPELINES} - {"reporting", "export"}))
def test_nothing_is_left_out_of_a_run_that_needs_no_classifier_or_trains_it(name):
    assert leave_out_untrained(PIPELINES[name], catalog(VARIANTS[0]), VARIANTS) == (PIPELINES[name], [])


def test_a_run_for_the_variant_alone_is_left_to_fail():
    pipeline = PIPELINES["reporting"].filter(node_names=[f"{VARIANTS[0]}.predict_cells"])
    assert leave_out_untrained(pipeline, catalog(VARIANTS[1]), VARIANTS) == (pipeline, [])


def test_the_page_alone_is_written_again_of_those_that_are_trained():
    pipeline = PIPELINES["reporting"].filter(node_names=["reporting.write_report"])
    kept, untrained = leave_out_untrained(pipeline, catalog(VARIANTS[0]), VARIANTS)
    assert untrained == [VARIANTS[1]]
    assert f"{VARIANTS[1]}.report_section" not in kept.inputs()


@pytest.mark.parametrize(
    "nodes", [None, ["reporting.write_report"], ["reporting.compare_variants", "resnet18.predict_cells"]]
)
def test_the_hook_narrows_the_run_and_says_so(nodes, caplog):
    caplog.set_level(logging.WARNING)
    pipeline = PIPELINES["reporting"].filter(node_names=nodes)
    names = [node.name for node in pipeline.nodes if not node.name.startswith("resnet34")]
    VariantHooks(VARIANTS).before_pipeline_run({"env": "demo"}, pipeline, catalog("resnet18"))
    assert variants_in(pipeline) == {"resnet18"}
    assert sorted(node.name for node in pipeline.nodes) == sorted(names)
    assert not any(name.startswith("resnet34") for node in pipeline.nodes for name in node.inputs)
    (record,) = caplog.records
    assert record.args == ("resnet34", " --env demo")


def test_a_variant_of_which_a_version_is_named_is_not_left_out(tmp_path):
    """That the version is not there is told elsewhere."""
    entries = {
        f"{variant}.{name}": {"type": "json.JSONDataset", "filepath": f"{tmp_path}/{variant}.{name}", "versioned": True}
        for variant in VARIANTS
        for name in ("classifier", "report_section")
    }
    versions = {f"{VARIANTS[0]}.classifier": "2020-01-01T00.00.00.000Z"}
    named = DataCatalog.from_config(entries, load_versions=versions, save_version="2026-01-01T00.00.00.000Z")
    _, untrained = leave_out_untrained(PIPELINES["export"], named, VARIANTS)
    assert untrained == [VARIANTS[1]]
