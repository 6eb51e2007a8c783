"""``kedro run --pipelines cross_validation``: fold by fold, resumable, with a page and a label audit to act on."""

import json

import pandas as pd
import pytest
from project import Project

from malaria_kedro.learning.interruption import EXIT_UNFINISHED

CROSS_VALIDATE = ("run", "--env", "demo", "--pipelines", "data_engineering,cross_validation")


@pytest.fixture(scope="module")
def validated(tmp_path_factory) -> Project:
    """A project whose cross-validation was interrupted after three epochs, and then finished by the same command.

    It is there to be looked at: a test that runs anything works on a copy.
    """
    project = Project(tmp_path_factory.mktemp("validated"))
    broken_off = project.run("kedro", *CROSS_VALIDATE, "--params", "training.epochs_per_run=3")
    assert broken_off.returncode == EXIT_UNFINISHED, broken_off.stdout[-3000:]
    project.log = project.kedro(*CROSS_VALIDATE)
    return project


def newest(project: Project, pattern: str):
    return max((project.folder / "data" / "demo").glob(pattern))


def test_finished_folds_are_not_trained_again(validated):
    assert "all epochs were trained before (1," in validated.log
    assert validated.log.count("batches of") < 8


def test_every_cell_is_predicted_once_by_each_protocol(validated):
    predictions = pd.read_parquet(newest(validated, "07_model_output/cross_validation/predictions.parquet/*/*.parquet"))
    assert predictions.groupby("strategy")["cell_id"].nunique().to_dict() == {"patient": 96, "random": 96}
    assert len(predictions) == 192


def test_the_log_says_who_is_shared(validated):
    assert "patient fold 1 of 2 (seed 42)" in validated.log
    assert "0 of 8 patients shared" in validated.log


def test_metrics_hold_both_protocols_with_intervals(validated):
    metrics = json.loads(newest(validated, "08_reporting/cross_validation/metrics.json/*/metrics.json").read_text())
    assert metrics["phantom"] is True
    for protocol in metrics["protocols"].values():
        assert len(protocol["folds"]) == 2
        low, high = protocol["pooled"]["intervals"]["accuracy"]
        assert low <= protocol["pooled"]["accuracy"] <= high


def test_the_audit_can_be_acted_on(validated, tmp_path):
    project = validated.copied_to(tmp_path / "project")
    audit = newest(project, "08_reporting/label_audit.csv/*/label_audit.csv")
    doubted = pd.read_csv(audit).head(2)
    doubted.to_csv(project.folder / "doubted.csv", index=False)
    project.kedro("run", "--env", "demo", "--to-outputs", "cell_index", "--params", "source.exclude=doubted.csv")
    index = pd.read_parquet(project.folder / "data" / "demo" / "03_primary" / "cell_index.parquet")
    excluded = index[index["excluded"] != ""]
    assert set(excluded["cell_id"]) == set(doubted["cell_id"])
    assert set(excluded["excluded"]) == {"named in doubted.csv"}


def test_it_writes_a_page_of_its_own(validated):
    page = newest(validated, "08_reporting/cross_validation/report.html/*/report.html").read_text()
    assert "2-fold" in page
    assert page.count("out of fold") == 2
    assert (page.count("data:image/webp;base64,"), page.count("data:image/svg+xml;base64,")) == (1, 1)
    assert "none is blood" in page
