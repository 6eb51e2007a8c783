"""archive → folder → index → splits and pixels → databunch."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from malaria_kedro.pipelines import step
from malaria_kedro.pipelines.data_engineering import nodes


def create_pipeline() -> Pipeline:
    """Return the pipeline that ends in ``databunch``."""
    data = Pipeline(
        [
            step(nodes.choose_archive, ["raw_folder", "params:source"], "cell_archive"),
            step(nodes.unpack_archive, ["cell_archive", "unpacked_folder", "params:source"], "cell_images"),
            step(nodes.build_index, ["cell_images", "params:source"], "cell_index"),
            step(nodes.assign_splits, ["cell_index", "params:split", "params:source"], "cell_splits"),
            step(nodes.decode_cells, ["cell_images", "cell_index", "params:image"], "cell_pixels"),
            step(
                nodes.make_databunch,
                [
                    *("cell_images", "cell_index", "cell_splits", "cell_pixels"),
                    *("params:augment", "params:split", "params:source"),
                ],
                "databunch",
            ),
        ],
        tags="data",
    )
    shown = ["databunch", "params:split", "params:evaluation", "params:report"]
    figures = Pipeline([step(nodes.preview_batch, shown, "batch_preview", tags="figures")])
    return Pipeline([data, figures], namespace="data_engineering", prefix_datasets_with_namespace=False)
