"""An HTML page as one file, and its newest version where it can always be found."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kedro.io import Version
from kedro_datasets._typing import HTMLPreview

from malaria_kedro.datasets.local_dataset import Metadata
from malaria_kedro.datasets.text_dataset import TextDataset
from malaria_kedro.files import write_file
from malaria_kedro.report.formats import with_environment


class HTMLDataset(TextDataset):
    """A page, written whole or not at all; of several versions, the last is also ``latest_<name>`` beside them.

    Args:
        environment: its name goes into the ``kedro run`` commands of the page; empty = none was given.
        filepath, version, metadata: as in ``LocalVersionedDataset``.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike,
        environment: str = "",
        version: Version | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._environment = environment

    @property
    def latest_path(self) -> Path | None:
        """A copy of the last version, which is complete in itself like each of them; None without versions."""
        path = Path(self._filepath)
        return path.with_name(f"latest_{path.name}") if self._version else None

    def save(self, data: str) -> None:
        """Write the page, and replace the copy of the one before."""
        page = with_environment(data, self._environment)
        super().save(page)
        if self.latest_path:
            write_file(self.latest_path, lambda beside: beside.write_text(page, encoding="utf-8"))

    def preview(self) -> HTMLPreview:
        """Return the page for kedro-viz, which knows Markdown too, but not the YAML before it."""
        return HTMLPreview(re.sub(r"\A---\n.*?\n---\n", "", self.load(), flags=re.DOTALL))
