"""The comparison: one row per variant and split, and the tutorial's rows apart from them."""

import pandas as pd
import pytest

from malaria_kedro.evaluation.comparison import CITED_SOURCE, compare_folds, compare_variants
from malaria_kedro.evaluation.measurements import CrossValidationMetrics, Measurement, ProtocolMetrics, Scores
from malaria_kedro.learning.metadata import ClassifierMetadata
from metadata_material import metadata


def about(name: str, *, phantom: bool = False) -> ClassifierMetadata:
    return metadata(
        name=name,
        architecture="resnet18",
        parameters={
            "arch": "resnet18",
            "stage_1": {"epochs": 10, "lr_max": 1e-3},
            "stage_2": {"epochs": 30, "lr_max": 1e-4},
        },
        data={"fingerprint": "f", "phantom": phantom, "origin": "cell_images.zip", "strategy": "patient"},
        selected={"stage": "stage_2", "epoch": 20},
        seconds=61.5,
        n_parameters=11_000_000,
    )


def measured(*splits: str) -> Measurement:
    values = {"n": 100, "n_parasitized": 0, "n_patients": None, "confusion": {"tp": 0, "fn": 0, "fp": 10, "tn": 90}}
    values |= {"accuracy": 0.9, "error_rate": 0.1, "sensitivity": None, "specificity": 0.8, "roc_auc": 0.95}
    about = {"positive_class": "Parasitized", "threshold": 0.5, "notes": []}
    return Measurement.model_validate(about | {"splits": dict.fromkeys(splits, values)})


def test_each_variant_and_split_has_a_row():
    table = compare_variants([about("resnet34"), about("resnet18")], [measured("valid"), measured("valid", "test")])
    ours = table[table["source"] == "this run"]
    assert list(zip(ours["variant"], ours["split"], strict=True)) == [
        ("resnet34", "valid"),
        ("resnet18", "valid"),
        ("resnet18", "test"),
    ]
    row = ours.iloc[0]
    assert (row["data"], row["split_strategy"], row["n"], row["accuracy"]) == ("cell_images.zip", "patient", 100, 0.9)
    assert (row["epochs"], row["selected_stage"], row["selected_epoch"]) == ("10 + 30", "stage_2", 20)
    assert (row["n_parameters"], row["train_seconds"]) == (11_000_000, 61.5)
    assert pd.isna(row["sensitivity"])


def test_the_tutorials_numbers_follow_and_are_marked_as_cited():
    table = compare_variants([about("resnet18")], [measured("valid")])
    cited = table[table["source"] == CITED_SOURCE]
    assert list(cited["accuracy"]) == [0.964, 0.961, 0.970]
    assert set(cited["n"]) == {5511}
    assert set(cited["data"]) == {"NIH, other random split"}
    assert cited[["error_rate", "sensitivity", "roc_auc", "n_parameters", "train_seconds"]].isna().all(axis=None)
    assert list(table.index[-3:]) == list(cited.index)


def test_a_stage_without_epochs_is_not_told():
    stages = {"stage_1": {"epochs": 0, "lr_max": 1e-3}, "stage_2": {"epochs": 5, "lr_max": 1e-3}}
    table = compare_variants([metadata(parameters=stages)], [measured("valid")])
    assert table["epochs"][0] == "5"


def test_phantoms_are_called_phantoms():
    assert compare_variants([about("net", phantom=True)], [measured("valid")])["data"][0] == "phantom cells, not blood"


def test_the_protocols_of_a_cross_validation_stand_before_the_tutorials_rows():
    pooled = measured("valid").splits["valid"]
    scores = {"mean": Scores(), "sd": Scores(), "pooled": pooled}
    protocol = ProtocolMetrics(n=100, n_patients=None, shared_patients=None, folds=[], **scores)
    found = CrossValidationMetrics(
        **{"threshold": 0.5, "protocols": {"patient": protocol, "random": protocol}, "notes": [], "variant": "net"},
        **{"architecture": "resnet18", "folds": 5, "seeds": [1], "phantom": True, "origin": "x", "image_size": 64},
        **{
            "data_fingerprint": "f",
            "labels_sha256": "l",
            "epochs": 8,
            "train_seconds": {"patient": 1.0, "random": 2.0},
        },
    )
    table = compare_folds(found)
    assert list(table["split"]) == ["out of fold"] * 2 + ["valid"] * 3
    assert list(table["split_strategy"][:2]) == ["patient", "random"]
    assert list(table["train_seconds"][:2]) == [1, 2]
    assert set(table["data"][:2]) == {"phantom cells, not blood"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_table_survives_the_disk(kind, tmp_path):
    table = compare_variants([about("resnet18")], [measured("valid")])
    if kind == "csv":
        table.to_csv(tmp_path / "table.csv", index=False)
        again = pd.read_csv(tmp_path / "table.csv")
    else:
        table.to_parquet(tmp_path / "table.parquet")
        again = pd.read_parquet(tmp_path / "table.parquet")
    assert list(again["epochs"]) == list(table["epochs"])
    assert list(again["n"]) == list(table["n"])


def test_metadata_without_metrics_are_refused():
    with pytest.raises(ValueError, match="zip"):
        compare_variants([about("resnet18")], [])
