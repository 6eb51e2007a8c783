"""What a checkpoint says about its training, as version 0.1.0 recorded it, and changes of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from malaria_kedro.learning.description import CheckpointDescription

# The description in the header of ``epoch_001.safetensors`` of a small training; checkpoints like it are resumed.
RECORDED = Path(__file__).with_name("recorded_description.json").read_text()


def described(**changes: Any) -> CheckpointDescription:
    """Return the recorded description, with other values for some keys."""
    return CheckpointDescription.model_validate_json(RECORDED).model_copy(update=changes)
