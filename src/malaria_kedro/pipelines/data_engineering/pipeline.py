"""archive → folder → index → splits and pixels → databunch."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from malaria_kedro.pipelines import step
from malaria_kedro.pipelines.data_engineering import nodes


def create_pipeline() -> Pipeline:
    """Return the pipeline that ends in ``databunch``."""
    return Pipeline(
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
                    *("params:augment", "params:split", "params:source", "params:image"),
                ],
                "databunch",
            ),
            step(nodes.preview_batch, ["databunch", "params:split", "params:evaluation"], "batch_preview"),
        ],
        namespace="data_engineering",
        prefix_datasets_with_namespace=False,
        tags="data",
    )
