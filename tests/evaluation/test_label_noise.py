"""The label audit: labels that unseeing networks do not believe come first, and nothing is changed."""

import numpy as np
import pandas as pd
import pytest

from malaria_kedro.evaluation.label_noise import audit_labels


def out_of_fold(n: int = 400, wrong: int = 20, seed: int = 0) -> tuple[pd.DataFrame, set[str]]:
    """Predictions of a good network, and some labels turned round."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2 == 0
    p = np.clip(np.where(truth, 0.95, 0.05) + rng.normal(0, 0.05, n), 0.001, 0.999)
    turned = rng.choice(n, wrong, replace=False)
    given = truth.copy()
    given[turned] = ~given[turned]
    label = np.where(given, "Parasitized", "Uninfected")
    table = pd.DataFrame(
        {
            "cell_id": [f"c{number:03}" for number in range(n)],
            "patient_id": [f"C{number % 10}" for number in range(n)],
            "label": label,
            "p_parasitized": p,
            "loss": -np.log(np.where(given, p, 1 - p)),
        }
    )
    return table, {f"c{number:03}" for number in turned}


def test_wrong_labels_come_first():
    table, wrong = out_of_fold()
    audit = audit_labels(table)
    assert set(audit["cell_id"].head(len(wrong))) == wrong
    assert audit["audit_rank"].tolist() == list(range(1, len(table) + 1))
    assert audit["score"].is_monotonic_increasing


def test_suspected_are_about_those_that_are_wrong():
    table, wrong = out_of_fold()
    audit = audit_labels(table)
    suspected = set(audit.loc[audit["is_issue"], "cell_id"])
    assert suspected <= wrong
    assert len(suspected) >= 0.5 * len(wrong)  # careful: a label is believed less than its class is on average


def test_the_suggestion_of_a_suspected_label_is_the_other_class():
    audit = audit_labels(out_of_fold()[0])
    suspected = audit[audit["is_issue"]]
    assert (suspected["given_label"] != suspected["suggested_label"]).all()


def test_the_first_column_names_cells_as_source_exclude_wants_it():
    assert audit_labels(out_of_fold()[0]).columns[0] == "cell_id"


def test_the_predictions_stay_as_they_are():
    table, _ = out_of_fold()
    before = table.copy()
    audit_labels(table)
    pd.testing.assert_frame_equal(table, before)


def test_several_predictions_of_a_cell_count_together():
    table, wrong = out_of_fold()
    audit = audit_labels(pd.concat([table, table.assign(p_parasitized=table["p_parasitized"] * 0.99)]))
    assert len(audit) == len(table)
    assert set(audit["cell_id"].head(len(wrong))) == wrong


@pytest.mark.parametrize(
    "table",
    [
        out_of_fold(wrong=0)[0].assign(label="Uninfected"),
        out_of_fold()[0].assign(p_parasitized=0.5),
        out_of_fold()[0].head(3),
    ],
    ids=["one class", "constant prediction", "three cells"],
)
def test_where_nothing_can_be_told_nothing_is_suspected_without_reason(table):
    audit = audit_labels(table)
    assert len(audit) == len(table)
    assert audit["score"].notna().all()
    assert not (audit["is_issue"] & (audit["given_label"] == audit["suggested_label"])).any()


def test_a_probability_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="not a number from 0 to 1"):
        audit_labels(out_of_fold()[0].assign(p_parasitized=np.nan))
