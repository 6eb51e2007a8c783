"""``kedro run --env demo`` from an empty folder: three pipelines, two models, one report, no network."""

import json
import shutil

import pandas as pd
from processes import nodes_in

from malaria_kedro.pipeline_registry import register_pipelines

VARIANTS = ("resnet34", "resnet18")
FIGURES = (
    *("confusion_matrix", "roc_curve", "precision_recall_curve", "reliability_diagram", "patients_figure"),
    *("loss_curves", "top_losses", "top_losses_heatmap", "true_positives_heatmap"),
)


def test_every_catalog_entry_of_the_main_line_is_on_disk(demo):
    data = demo.folder / "data" / "demo"
    expected = [
        "01_raw/phantom_cells.zip",
        "01_raw/cell_archive.json",
        "02_intermediate/cell_images/train/Parasitized",
        "02_intermediate/cell_images/train/Uninfected",
        "03_primary/cell_index.parquet",
        "05_model_input/cell_splits.parquet",
        "05_model_input/cell_pixels/pixels.npy",
        "05_model_input/databunch/databunch.json",
        "08_reporting/batch_preview.png",
        "07_model_output/colour_baseline.parquet/*/colour_baseline.parquet",
        "08_reporting/colour_baseline_metrics.json/*/colour_baseline_metrics.json",
        "08_reporting/model_comparison.csv/*/model_comparison.csv",
        "08_reporting/roc_curves.png/*/roc_curves.svg",
        "08_reporting/report.html/*/report.html",
    ]
    for variant in VARIANTS:
        expected += [
            f"06_models/{variant}/model_summary.txt",
            f"06_models/{variant}/checkpoints/stage_1/*/epoch_001.safetensors",
            f"06_models/{variant}/stage_1/*/stage_1/model.safetensors",
            f"06_models/{variant}/stage_2/*/stage_2/model.safetensors",
            f"06_models/{variant}/history.csv/*/history.csv",
            f"06_models/{variant}/classifier/*/classifier/model.safetensors",
            f"06_models/{variant}/classifier/*/classifier/classifier.json",
            f"07_model_output/{variant}/predictions.parquet/*/predictions.parquet",
            f"08_reporting/{variant}/metrics.json/*/metrics.json",
            f"08_reporting/{variant}/report_section.json/*/report_section.json",
            f"08_reporting/{variant}/patients.csv/*/patients.csv",
            f"08_reporting/{variant}/model_card.md/*/model_card.md",
            f"06_models/{variant}/classifier/*/classifier/README.md",
            *(f"08_reporting/{variant}/{figure}.png/*/{figure}.png" for figure in FIGURES),
        ]
    assert [pattern for pattern in expected if not list(data.glob(pattern))] == []


def test_phantoms_are_called_phantoms(demo):
    assert "phantom cells drawn by this project" in demo.log
    metadata = json.loads(
        next(demo.folder.glob("data/demo/06_models/resnet18/classifier/*/*/classifier.json")).read_text()
    )
    assert metadata["data"]["phantom"] is True
    page = next(demo.folder.glob("data/demo/08_reporting/report.html/*/report.html")).read_text()
    assert "phantom" in page


def test_the_log_tells_what_the_tutorial_prints(demo):
    for word in ("classes ['Parasitized', 'Uninfected']", "train: ", "items", "device cpu", "threads", "accuracy"):
        assert word in demo.log
    assert "0 of 8 patients shared" in demo.log


def test_metrics_agree_with_the_predictions(demo):
    folder = demo.folder / "data" / "demo"
    predictions = pd.read_parquet(next(folder.glob("07_model_output/resnet18/predictions.parquet/*/*.parquet")))
    metrics = json.loads(next(folder.glob("08_reporting/resnet18/metrics.json/*/metrics.json")).read_text())
    assert metrics["classifier"]["phantom"] is True
    for split, cells in predictions.groupby("split"):
        right = (cells["p_parasitized"] >= 0.5) == (cells["label"] == "Parasitized")
        assert metrics["splits"][split]["accuracy"] == right.mean()
        assert metrics["splits"][split]["n"] == len(cells)


def test_model_cards_carry_what_was_measured(demo):
    folder = demo.folder / "data" / "demo"
    metrics = json.loads(next(folder.glob("08_reporting/resnet18/metrics.json/*/metrics.json")).read_text())
    measured = next(folder.glob("08_reporting/resnet18/model_card.md/*/model_card.md")).read_text()
    beside = next(folder.glob("06_models/resnet18/classifier/*/classifier/README.md")).read_text()
    auc = [f"{metrics['splits'][split]['roc_auc']:.4f}" for split in ("valid", "test")]
    (row,) = [line for line in measured.splitlines() if line.startswith("| ROC AUC |")]
    assert [cell.split()[0] for cell in row.split("|")[2:-1]] == auc
    assert f"| ROC AUC | {auc[0]} |" in beside


def test_others_may_read_all_that_a_run_writes(demo):
    written = [path for path in (demo.folder / "data" / "demo").rglob("*") if path.name[:1] != "."]
    assert len(written) > 100
    assert [str(path) for path in written if not path.stat().st_mode & 0o044] == []


def test_reporting_runs_again_from_disk_in_a_fresh_process(demo_copy):
    log = demo_copy.kedro("run", "--env", "demo", "--pipelines", "reporting")
    assert nodes_in(log) == len(register_pipelines()["reporting"].nodes)
    assert len(list(demo_copy.folder.glob("data/demo/08_reporting/report.html/*"))) == 2


def test_another_epoch_can_be_exported_without_training_again(demo_copy):
    log = demo_copy.kedro(
        "run", "--env", "demo", "--nodes", "resnet18.export_classifier", "--params", "resnet18.select=best_accuracy"
    )
    assert "select: best_accuracy" in log
    assert "batches of" not in log
    versions = sorted(demo_copy.folder.glob("data/demo/06_models/resnet18/classifier/*/*/classifier.json"))
    assert json.loads(versions[-1].read_text())["selected"]["rule"] == "best_accuracy"


def test_data_engineering_done_again_decodes_nothing(demo_copy):
    pixels = demo_copy.folder / "data" / "demo" / "05_model_input" / "cell_pixels" / "pixels.npy"
    before = pixels.stat().st_mtime_ns
    log = demo_copy.kedro("run", "--env", "demo", "--to-outputs", "databunch")
    assert "already decoded at 32 px: reused" in log
    assert pixels.stat().st_mtime_ns == before


def test_a_classifier_does_not_judge_cells_of_another_split(demo_copy):
    demo_copy.kedro("run", "--env", "demo", "--to-outputs", "databunch", "--params", "split.seed=5")
    said = demo_copy.refused("run", "--env", "demo", "--pipelines", "reporting", "--params", "split.seed=5")
    assert "was trained on other data" in said
    assert "Traceback" not in said


def test_a_databunch_of_other_parameters_is_not_used(demo_copy):
    said = demo_copy.refused("run", "--env", "demo", "--pipelines", "modeling", "--params", "split.seed=5")
    assert "split.seed=42 (now 5)" in said
    assert "kedro run --env demo --pipelines data_engineering" in said
    assert not nodes_in(said)
    assert "Traceback" not in said


def test_the_learning_rate_pipeline_writes_curve_and_suggestion(demo_copy):
    demo_copy.kedro("run", "--env", "demo", "--pipelines", "learning_rate", "--namespaces", "resnet18")
    reporting = demo_copy.folder / "data" / "demo" / "08_reporting" / "resnet18"
    suggestion = json.loads(next(reporting.glob("learning_rate_suggestion.json/*/*.json")).read_text())
    assert suggestion
    assert all(1e-7 <= rate <= 10 for rate in suggestion.values())
    assert next(reporting.glob("learning_rate_curve.png/*/*.png")).read_bytes()[:4] == b"\x89PNG"
    assert not (demo_copy.folder / "models").exists(), "fastai's finder keeps its weights elsewhere"


def test_one_trained_variant_is_reported_on_and_the_other_is_named(demo_copy):
    shutil.rmtree(demo_copy.folder / "data" / "demo" / "06_models" / "resnet34")
    log = demo_copy.kedro("run", "--env", "demo", "--pipelines", "reporting")
    assert "resnet34 is not trained" in log
    page = max(demo_copy.folder.glob("data/demo/08_reporting/report.html/*/report.html")).read_text()
    assert "Classifier resnet18" in page
    assert "Classifier resnet34" not in page
    assert "Nothing was measured of resnet34" in page
