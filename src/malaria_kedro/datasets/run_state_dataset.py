"""What the trainings of one run share, for the nodes that train."""

from __future__ import annotations

from functools import cache
from uuid import uuid4

from kedro.io import AbstractDataset, DatasetError

from malaria_kedro.datasets.local_dataset import Metadata
from malaria_kedro.learning.interruption import RunState


class RunStateDataset(AbstractDataset[None, RunState]):
    """Loads as the one ``RunState`` of a catalog, and so of a run: every Kedro session makes a catalog of its own.

    The processes of the ParallelRunner get copies of the catalog; the nodes of one process share a state.
    """

    def __init__(self, *, metadata: Metadata | None = None) -> None:
        self._run = uuid4().hex
        self.metadata = metadata

    def load(self) -> RunState:
        """Return the state, the same at each call."""
        return _state_of(self._run)

    def save(self, data: None) -> None:
        """Refuse: a node cannot output the state of its run."""
        raise DatasetError("the state of a run is shared while it trains; no node can save it")

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, object]:
        return {}


@cache
def _state_of(run: str) -> RunState:
    return RunState()
