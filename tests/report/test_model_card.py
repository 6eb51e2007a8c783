"""The model card: a header that the Hub can read, and a page that claims nothing that was not measured."""

import math

import pytest
import yaml
from report_material import described_as, entry, full_entry, full_summary, summary

from malaria_kedro.report.model_card import write_model_card
from metadata_material import metadata


def header(text: str) -> dict:
    """The YAML between the first two lines of dashes."""
    before, block, body = text.split("---\n", 2)
    assert before == ""
    assert block.endswith("\n")
    assert body.startswith("\n# ")
    return yaml.safe_load(block)


@pytest.fixture(scope="module")
def full() -> str:
    """The model card of a classifier with calibration, after it was measured."""
    one = full_entry()
    return write_model_card(one.metadata, one.metrics)


def test_the_header_says_what_the_hub_asks_for(full):
    found = header(full)
    assert (found["license"], found["library_name"], found["pipeline_tag"]) == (
        "apache-2.0",
        "malaria-kedro",
        "image-classification",
    )
    assert {"malaria", "microscopy", "resnet18"} <= set(found["tags"])
    assert all(isinstance(tag, str) for tag in found["tags"])


def test_the_model_index_holds_the_measured_values(full):
    one = full_entry()
    (model,) = header(full)["model-index"]
    assert model["name"] == "resnet18"
    assert [result["dataset"]["split"] for result in model["results"]] == ["validation", "test"]
    for split, result in zip(("valid", "test"), model["results"], strict=True):
        assert result["task"] == {"type": "image-classification"}
        assert result["dataset"]["type"]
        assert result["dataset"]["name"] == "cell_images.zip"
        assert result["dataset"]["args"] == {"fingerprint": "0123abcd", "split_strategy": "patient"}
        values = {metric["type"]: metric["value"] for metric in result["metrics"]}
        assert values["accuracy"] == one.metrics.splits[split].accuracy
        assert values["recall"] == one.metrics.splits[split].sensitivity
        assert values["matthews_correlation"] == one.metrics.splits[split].mcc
    assert header(full)["metrics"] == list(values)


def test_undefined_values_are_left_out():
    one = entry()
    valid = one.metrics.splits["valid"].model_copy(update={"roc_auc": None, "mcc": None})
    metrics = one.metrics.model_copy(update={"splits": {"valid": valid}})
    (result,) = header(write_model_card(one.metadata, metrics))["model-index"][0]["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert "roc_auc" not in values
    assert all(math.isfinite(value) for value in values.values())


def test_the_metadata_alone_are_enough():
    text = write_model_card(described_as())
    (result,) = header(text)["model-index"][0]["results"]
    assert [(metric["type"], metric["value"]) for metric in result["metrics"]] == [("accuracy", 0.6)]
    assert "accuracy 60.0\u00a0%, cross-entropy 0.4222" in text
    assert "Neither a temperature nor a threshold" in text


def test_what_loading_relies_on_is_enough():
    text = write_model_card(metadata(name="", data={"fingerprint": "0123abcd"}))
    assert "model-index" not in header(text)
    assert "# resnet18: is this red blood cell parasitized?" in text
    assert "**Exported epoch**: not recorded" in text
    assert "None" not in text


def test_phantoms_give_no_scores_to_the_hub():
    one = full_entry(data=full_summary(phantom=True, origin="phantom cells drawn by malaria-kedro"))
    for text in (write_model_card(one.metadata), write_model_card(one.metadata, one.metrics)):
        found = header(text)
        assert "model-index" not in found
        assert "metrics" not in found
        assert "phantom-cells" in found["tags"]
        assert text.lower().count("phantom cells") >= 2
        assert "rajaraman2018" not in text


def test_it_has_the_sections_of_a_model_card(full):
    titles = [line.removeprefix("## ") for line in full.splitlines() if line.startswith("## ")]
    assert titles == [
        *("Model details", "Intended use", "How to use", "Training data", "Training procedure", "Evaluation"),
        *("Calibration and threshold", "Limitations and bias", "Citation"),
    ]


def test_what_it_is_not_for_is_said(full):
    assert "**Out of scope**: diagnosis" in full
    assert "> **Research and teaching.**" in full
    assert "Research use only" in write_model_card(described_as(intended_use=None))


def test_the_code_applies_temperature_and_threshold(full):
    found = full_entry().metadata.calibration
    assert 'network, preprocess = load_classifier("path/to/this/folder")' in full
    assert f"(logits / {found.temperature}).softmax(dim=1)" in full
    assert f"p_parasitized >= {found.threshold}" in full
    plain = write_model_card(described_as())
    assert "p_parasitized = logits.softmax(dim=1)[0, 0].item()" in plain
    assert "threshold" not in plain.split("```")[1]


def test_the_code_is_python(full):
    for text in (full, write_model_card(described_as())):
        compile(text.split("```python\n")[1].split("```")[0], "README.md", "exec")


def test_the_training_data_are_named_and_counted(full):
    assert "**Origin**: cell_images.zip" in full
    assert "`0123abcd`" in full
    assert "| training | 1\u202f200 | 1\u202f100 | 40 |" in full
    assert "0 of 52 patients shared" in full
    assert "7 (truncated image)" in full


def test_metrics_have_intervals(full):
    values = full_entry().metrics.splits
    row = next(line for line in full.splitlines() if line.startswith("| ROC AUC |"))
    cells = [
        f"{v.roc_auc:.4f} ({v.intervals['roc_auc'][0]:.4f} to {v.intervals['roc_auc'][1]:.4f})" for v in values.values()
    ]
    assert row == f"| ROC AUC | {cells[0]} | {cells[1]} |"


def test_tables_have_as_many_cells_in_every_row(full):
    rows = [line for line in full.splitlines() if line.startswith("|")]
    assert len(rows) > 15
    widths = {line.count("|") for line in rows}
    assert widths == {4, 5}


def test_calibration_is_told(full):
    found = full_entry().metadata.calibration
    assert f"Temperature T = {found.temperature:.4f}" in full
    assert f"{found.ece_before:.4f} → {found.ece_after:.4f}" in full
    none = described_as(calibration=found.as_dict() | {"threshold": None, "notes": ["no threshold can be chosen."]})
    text = write_model_card(none)
    assert "no threshold can be chosen." in text
    assert "the stored operating point" not in text


def test_what_the_gate_does_is_told():
    gate = {"id": "g", "n_cells": 8000, "refused_share": 0.003}
    text = write_model_card(described_as(quality_gate=gate))
    assert "fitted on 8\u202f000 training cells" in text
    assert "0.3\u00a0% of the training cells" in text
    assert "`quality_gate.json`" in text
    assert "No quality gate" not in text


def test_that_there_is_no_gate_is_told_with_the_reason():
    text = write_model_card(described_as(quality_gate=None, no_quality_gate="12 training cells tell no limits"))
    assert "No quality gate (12 training cells tell no limits)" in text
    assert "quality_gate.json" not in text


def test_metrics_without_intervals_are_told_as_they_are_known_at_export():
    one = full_entry()
    valid = one.metrics.splits["valid"].model_copy(update={"intervals": {}, "bootstrap": None})
    text = write_model_card(one.metadata, one.metrics.model_copy(update={"splits": {"valid": valid}}))
    (row,) = (line for line in text.splitlines() if line.startswith("| ROC AUC |"))
    assert row == f"| ROC AUC | {valid.roc_auc:.4f} |"
    assert "None" not in text


def test_a_random_split_is_a_limitation():
    assert "Random split" in write_model_card(described_as(data=summary(strategy="random")))
    assert "Random split" not in write_model_card(described_as())


def test_patients_that_are_not_known_are_said():
    text = write_model_card(described_as(data=summary(n_patients=0, patients={}, shared_patients={})))
    assert "(not known)" in text


@pytest.mark.parametrize("name", ["a: b", "- x", "<script>alert(1)</script>", "it's | #1", "no", "1e3"])
def test_strange_names_break_neither_header_nor_page(name):
    text = write_model_card(described_as(name, data=summary(origin=name)))
    found = header(text)
    assert found["model-index"][0]["name"] == name
    assert found["model-index"][0]["results"][0]["dataset"]["name"] == name
    assert "<script>" not in text.split("---\n", 2)[2]


def test_nobody_is_made_up(full):
    body = full.split("## Citation")[0]
    assert "@" not in body
    assert "Developed by" not in full
    assert "http" not in body
