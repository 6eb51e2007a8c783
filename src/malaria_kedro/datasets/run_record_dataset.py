"""What a page says of the run that writes it: when, which one, and with which code."""

from __future__ import annotations

from datetime import UTC, datetime

from kedro.io import AbstractDataset, DatasetError, Version

from malaria_kedro import __version__
from malaria_kedro.datasets.local_dataset import Metadata
from malaria_kedro.report.inputs import RunRecord
from malaria_kedro.versions import commit


class RunRecordDataset(AbstractDataset[None, RunRecord]):
    """Loads as the ``RunRecord`` of the run whose catalog it is in; nothing is stored on disk.

    Args:
        version: Kedro's, of an entry with ``versioned: true``; what the run saves has it as its version.
        metadata: for kedro-viz and other plugins; not used here.
    """

    def __init__(self, *, version: Version, metadata: Metadata | None = None) -> None:
        self._run = version.save
        self.metadata = metadata

    def load(self) -> RunRecord:
        """Return the record, dated now."""
        written = f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"
        return RunRecord(written=written, run=self._run, version=__version__, commit=commit())

    def save(self, data: None) -> None:
        """Refuse: a node cannot output the run that it belongs to."""
        raise DatasetError("a run's record is read from the run; no node can save it")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {"run": self._run}
