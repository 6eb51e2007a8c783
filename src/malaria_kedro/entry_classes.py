"""Which of the project's dataset classes can store what a catalog entry is for."""

from __future__ import annotations

from kedro.io import AbstractDataset, MemoryDataset

_PACKAGE = "malaria_kedro.datasets."
# Class → the names, without their namespace, that it stores. What these hold is of this project, and no other class can
# store it.
_OWN = {
    "archive_dataset.CellArchiveDataset": ("cell_archive",),
    "folder_dataset.CellFolderDataset": ("cell_images",),
    "pixels_dataset.CellPixelsDataset": ("cell_pixels",),
    "databunch_dataset.DataBunchDataset": ("databunch",),
    "stage_dataset.StageDataset": ("stage_1", "stage_2"),
    "classifier_dataset.ClassifierDataset": ("classifier",),
    "onnx_dataset.OnnxDataset": ("onnx",),
    "cell_predictions_dataset.CellPredictionsDataset": ("cell_predictions",),
}
# These make what they load, so that not even memory can hold it.
_MAKING = {
    "directory_dataset.DirectoryDataset": ("raw_folder", "unpacked_folder", "inference_workspace"),
    "checkpoints_dataset.CheckpointsDataset": ("checkpoints",),
    "run_state_dataset.RunStateDataset": ("run_state",),
    "run_record_dataset.RunRecordDataset": ("run_record",),
    "classifier_dataset.InferenceClassifierDataset": ("inference_classifier",),
}
# What other libraries' classes can store as well: tables, figures, texts, JSON.
_COMMON = {
    "parquet_dataset.ParquetDataset": ("cell_index", "cell_splits", "batch_history", "predictions", "colour_baseline"),
    "table_dataset.TableDataset": ("history", "label_audit", "model_comparison", "patient_summary", "patients"),
    "figure_dataset.FigureDataset": (
        *("batch_preview", "confusion_matrix", "folds", "label_audit_sheet", "learning_rate_curve", "loss_curves"),
        *("new_cells_figure", "patients_figure", "precision_recall_curve", "reliability_diagram", "roc_curve"),
        *("roc_curves", "top_losses", "top_losses_heatmap", "true_positives_heatmap"),
    ),
    "pydantic_dataset.PydanticDataset": ("metrics", "prediction_cost", "report_section", "colour_baseline_metrics"),
    "json_dataset.JSONDataset": ("learning_rate_suggestion",),
    "text_dataset.TextDataset": ("classifier_path", "model_summary", "inference_report", "model_card", "report"),
}
_CLASS_OF = {name: class_ for class_, names in (*_OWN.items(), *_MAKING.items(), *_COMMON.items()) for name in names}
# Both store any table.
_TABLES = ("parquet_dataset.ParquetDataset", "table_dataset.TableDataset")


def wrong_class(name: str, dataset: AbstractDataset) -> str | None:
    """Return the class, with its module, that an entry needs instead of the dataset's own; None = it will do.

    Args:
        name: the entry's, with its namespace, as ``resnet18.classifier``; of an unknown name nothing is expected.
        dataset: what the entry makes.
    """
    needed = _CLASS_OF.get(name.rpartition(".")[2])
    if needed is None or (isinstance(dataset, MemoryDataset) and needed not in _MAKING):
        return None
    classes = [f"{class_.__module__}.{class_.__qualname__}" for class_ in type(dataset).__mro__]
    fitting = _TABLES if needed in _TABLES else (needed,)
    if any(_PACKAGE + class_ in classes for class_ in fitting):
        return None
    stranger = not any(class_.startswith(_PACKAGE) for class_ in classes)
    return None if stranger and any(class_ in _COMMON for class_ in fitting) else _PACKAGE + needed
