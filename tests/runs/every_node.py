"""Run every node of every pipeline by itself, each from what lies on disk; write down which ones failed.

A process of its own, and one for all: torch takes many seconds to import. A session of Kedro's has its own catalog,
so that nothing is handed over in memory.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project


def main(images: str) -> None:
    """Run them in the working folder's project; ``images`` are what the pipeline inference reads."""
    bootstrap_project(Path.cwd())
    done, failed = [], {}
    for name in sorted(pipelines):
        # The main line has been run already; of the others, each node finds what those before it have left.
        for node in (node.name for node in pipelines[name].nodes):
            if node in done or node in failed:  # the default pipeline has those of others
                continue
            try:
                _run(name, {"from_nodes": [node], "to_nodes": [node]}, images if node == "read_new_cells" else None)
                done.append(node)
            except Exception as error:
                failed[node] = f"{type(error).__name__}: {error}"
    Path("every_node.json").write_text(json.dumps({"done": done, "failed": failed}))


def _run(pipeline: str, chosen: dict[str, list[str]], images: str | None) -> None:
    parameters = {"inference": {"images": images}} if images else None
    with KedroSession.create(Path.cwd(), env="demo", runtime_params=parameters) as session:
        session.run(pipeline_names=[pipeline], **chosen)


if __name__ == "__main__":
    main(sys.argv[1])
