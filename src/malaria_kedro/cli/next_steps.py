"""The last lines of ``make run``: where the report and the models are, and what to try next."""

from __future__ import annotations

import sys
from pathlib import Path

from malaria_kedro.versions import newest_version


def newest(pattern: str) -> Path | None:
    """Return the path of the newest version that matches ``…/<version>/<name>`` below the working folder."""
    return newest_version(Path().glob(pattern), version_of=1)


def next_steps(env: str) -> str:
    """Return these lines for an environment."""
    data = Path("data/demo" if env == "demo" else "data")
    report = newest(f"{data}/08_reporting/report.html/*/report.html")
    models = sorted(data.glob("06_models/*/classifier"))
    return "\n".join(
        [
            f"\nreport   {report or 'none was written'}",
            *(f"model    {newest(f'{model}/*/classifier') or model}" for model in models),
            "\nnext     make viz                                  the pipelines in a browser",
            "         kedro run --env cpu --params source.path=cell_images.zip    real cells on a laptop",
            "         kedro run --env demo --pipelines reporting                   the report again",
            "(kedro is .venv/bin/kedro; `source .venv/bin/activate` puts it on the path)",
        ]
    )


if __name__ == "__main__":
    print(next_steps(sys.argv[1] if len(sys.argv) > 1 else "base"))
