"""Which checkpoint a training resumes from and, if none fits, how they differ from it."""

from __future__ import annotations

import logging

from pydantic import JsonValue

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.learning.checkpoints import Checkpoint, Checkpoints
from malaria_kedro.learning.description import Session, StageDescription
from malaria_kedro.learning.interruption import RunState
from malaria_kedro.parameters import RENAMED

logger = logging.getLogger(__name__)


class ResumeError(MalariaKedroError, RuntimeError):
    """No checkpoint fits this training; the message says what differs and what to do."""


def find_checkpoint(
    checkpoints: Checkpoints, description: StageDescription, resume: str, run_state: RunState
) -> Checkpoint | None:
    """Return the checkpoint to resume from, or None to start afresh.

    What fits is decided by the ``training_id`` of the training to come. ``run_state`` records that a training was
    resumed: ``require`` lets those after it start afresh.

    Raises:
        ResumeError: ``require`` finds none that fits; the message spells out the differences.
        CheckpointError: ``never`` cannot set the old ones aside.
    """
    name, stage = description.variant, description.stage
    own = checkpoints.of(stage, description.training_id)
    if resume == "never":
        if aside := own.set_aside():
            logger.info("%s %s: starts afresh (training.resume=never); the old epochs are in %s", name, stage, aside)
        return None
    if found := own.newest():
        run_state.continued = True
        return found
    others = checkpoints.others(stage, description.training_id)
    unfinished = next((other for other in others if other[1].epoch < other[1].stage_parameters.epochs), None)
    nearest = unfinished or (others[0] if others else None)
    remedy = ""
    if own.epochs():
        why = f"no epoch in {own.folder} can be read"
    elif nearest:
        folder, other = nearest
        why = (
            f"the training there is another: {'; '.join(differences(other, description))} "
            f"(epoch {other.epoch} of {other.stage_parameters.epochs}, {folder})"
        )
        remedy = "put the parameters back to continue that one, or " if unfinished else ""
    else:
        why = f"there is none in {own.folder.parent}"
    if resume == "require" and (own.epochs() or unfinished or not run_state.continued):
        raise ResumeError(
            f"training.resume is require, but {name} {stage} has no checkpoint that it can continue: {why}; "
            f"{remedy}set training.resume=auto to start afresh"
        )
    if own.epochs():
        logger.warning("%s %s: %s; starts afresh", name, stage, why)
    elif unfinished:
        logger.warning(
            "%s %s: starts afresh, because %s. That one is unfinished; it is kept, and continues when the parameters "
            "are put back",
            *(name, stage, why),
        )
    elif nearest and "fold" not in description.data.split:  # the other folds are there because they should be
        size = sum(file.stat().st_size for file in own.folder.parent.rglob("*.safetensors")) // 10**6
        logger.info("%s %s: starts afresh, because %s. It is kept (%d MB with others there)", name, stage, why, size)
    return None


def differences(then: StageDescription, now: StageDescription) -> list[str]:
    """Describe how the training of a checkpoint and the one to come differ, one text per parameter of conf."""
    found = []
    for key, one, other in _changed(then.identity.as_dict(), now.identity.as_dict()):
        place, _, leaf = key.partition(".")
        if key == "data_fingerprint":
            data = [
                f"{at} was {a}, is {b}"
                for at, a, b in _changed(then.data.as_dict(), now.data.as_dict())
                if not at.startswith(("fingerprint", "pixels_fingerprint", "augment"))
            ]
            why = "; ".join(data[:6]) or "other images, labels or splits"
            found.append(f"data fingerprint was {str(one)[:12]}, is {str(other)[:12]} ({why})")
        elif key == "start_sha256":
            found.append(
                f"weights to start from were {str(one)[:12]}, are {str(other)[:12]} "
                f"({now.variant}.pretrained, or another stage_1)"
            )
        else:
            *path, last = leaf.split(".")
            leaf = ".".join((*path, RENAMED.get(last, last)))
            named = f"{now.variant}.{leaf}"
            shown = {"recipe": named, "hardware": f"{leaf} (training)", "versions": f"version of {leaf}"}
            found.append(f"{shown.get(place, key)} was {one}, is {other}")
    return found


def warn_of_another_machine(name: str, before: Session, now: Session) -> None:
    """Warn if a training resumes on other hardware or versions: it may, but its last bits may differ."""
    then, today = before.as_dict(), now.as_dict()
    for part in ("hardware", "versions"):
        if changed := [f"{key} was {one}, is {other}" for key, one, other in _changed(then[part], today[part])]:
            logger.warning(
                "%s: resumes with other %s (%s), so its last bits may differ from those of an uninterrupted run",
                *(name, part, "; ".join(changed)),
            )


def _changed(then: JsonValue, now: JsonValue, place: str = "") -> list[tuple[str, JsonValue, JsonValue]]:
    """Return the keys whose values differ, with both values; nested keys are joined by dots."""
    if isinstance(then, dict) and isinstance(now, dict):
        keys = sorted(then.keys() | now.keys())
        return [row for key in keys for row in _changed(then.get(key), now.get(key), f"{place}.{key}".lstrip("."))]
    return [] if then == now else [(place, then, now)]
