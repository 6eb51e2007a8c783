"""The command lines: ``kedro run`` with errors in one sentence, and ``malaria-kedro``.

Kedro looks for ``cli`` and ``run`` here; both are imported late: ``malaria-kedro --help`` needs no Kedro.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("cli", "run"):
        from malaria_kedro.cli import kedro_run

        return getattr(kedro_run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
