"""archive → folder → index → splits and pixels → databunch."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from malaria_kedro.pipelines.data_engineering import nodes


def create_pipeline() -> Pipeline:
    """Return the pipeline that ends in ``databunch``."""
    return Pipeline(
        [
            node(nodes.choose_archive, ["raw_folder", "params:source"], "cell_archive", name="choose_archive"),
            node(
                nodes.unpack_archive,
                ["cell_archive", "unpacked_folder", "params:source"],
                "cell_images",
                name="unpack_archive",
            ),
            node(nodes.build_index, ["cell_images", "params:source"], "cell_index", name="build_index"),
            node(nodes.assign_splits, ["cell_index", "params:split"], "cell_splits", name="assign_splits"),
            node(nodes.decode_cells, ["cell_images", "cell_index", "params:image"], "cell_pixels", name="decode_cells"),
            node(
                nodes.make_databunch,
                ["cell_images", "cell_index", "cell_splits", "cell_pixels", "params:augment", "params:split"],
                "databunch",
                name="make_databunch",
            ),
            node(
                nodes.preview_batch,
                ["databunch", "params:split", "params:evaluation"],
                "batch_preview",
                name="preview_batch",
            ),
        ]
    )
