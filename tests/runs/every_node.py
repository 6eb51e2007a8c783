"""Run every pipeline from every one of its nodes on, in this project, each from what lies on disk; print what failed.

One process for all, for torch takes many seconds to import; a session of Kedro's has a catalog of its own.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project


def main(images: str) -> None:
    bootstrap_project(Path.cwd())
    failed, done = {}, []
    # In the order in which a user would have run them: a pipeline off the main line once as a whole, then its nodes.
    for name in (
        "data_engineering",
        "modeling",
        "reporting",
        "cross_validation",
        "export",
        "learning_rate",
        "inference",
    ):
        if name in ("cross_validation", "export", "learning_rate", "inference"):
            _run(name, [], images)
        for node in sorted(node.name for node in pipelines[name].nodes):
            try:
                _run(name, [node], images if node == "read_new_cells" else None)
                done.append(f"{name}: {node}")
            except Exception as error:
                failed[f"{name}: {node}"] = f"{type(error).__name__}: {error}"
    Path("every_node.json").write_text(json.dumps({"done": done, "failed": failed, "all": sorted(pipelines)}))


def _run(pipeline: str, from_nodes: list[str], images: str | None) -> None:
    chosen = {"inference": {"images": images}} if images else None
    with KedroSession.create(Path.cwd(), env="demo", runtime_params=chosen) as session:
        session.run(pipeline_name=pipeline, from_nodes=from_nodes or None)


if __name__ == "__main__":
    os.environ.pop("KEDRO_ENV", None)
    main(sys.argv[1])
