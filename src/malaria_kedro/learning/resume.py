"""Which checkpoint a training resumes from, and, where none fits, what the differences are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.learning.checkpoints import Checkpoint, Checkpoints
from malaria_kedro.learning.interruption import RunState
from malaria_kedro.parameters import RENAMED

logger = logging.getLogger(__name__)


class ResumeError(MalariaKedroError, RuntimeError):
    """There is nothing that fits to be continued; the message says what differs and what to do."""


def find_checkpoint(
    checkpoints: Checkpoints, name: str, stage: str, description: dict[str, Any], resume: str, run_state: RunState
) -> Checkpoint | None:
    """Return the checkpoint to continue, or None to start afresh.

    Args:
        checkpoints: of the variant.
        name: the variant, for messages.
        stage: its stage.
        description: of the training to come; its ``training_id`` decides what fits.
        resume: ``auto``, ``require`` or ``never``, see ``malaria_kedro.parameters.Training``.
        run_state: notes that something was continued, so that ``require`` lets what comes after it begin.

    Raises:
        ResumeError: ``require`` finds none that fits; the message spells out the differences.
        CheckpointError: ``never`` cannot set the old ones aside.
    """
    own = checkpoints.of(stage, description["training_id"])
    if resume == "never":
        if aside := own.set_aside():
            logger.info("%s %s: starts afresh (training.resume=never); the old epochs are in %s", name, stage, aside)
        return None
    if found := own.newest():
        run_state.continued = True
        return found
    others = checkpoints.others(stage, description["training_id"])
    unfinished = next((other for other in others if other["epoch"] < other["stage_parameters"]["epochs"]), None)
    nearest = unfinished or (others[0] if others else None)
    remedy = ""
    if own.epochs():
        why = f"no epoch in {own.folder} can be read"
    elif nearest:
        why = f"the training there is another: {_spell_out(name, nearest, description)}"
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
            name,
            stage,
            why,
        )
    elif nearest:
        size = _megabytes(own.folder.parent)
        logger.info("%s %s: starts afresh, because %s. It is kept (%d MB with others there)", name, stage, why, size)
    return None


def differences(name: str, then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Spell out how the descriptions of two trainings differ, a text for each parameter, by its name in conf.

    Args:
        name: the variant.
        then: of the checkpoint.
        now: of the training to come.
    """
    found = []
    for key, one, other in _changed(then["identity"], now["identity"]):
        place, _, leaf = key.partition(".")
        if key == "data_fingerprint":
            data = [f"{at} was {a}, is {b}" for at, a, b in _changed(then["data"], now["data"]) if _explains(at)]
            why = "; ".join(data[:6]) or "other images, labels or splits"
            found.append(f"data fingerprint was {one[:12]}, is {other[:12]} ({why})")
        elif key == "start_sha256":
            found.append(
                f"weights to start from were {one[:12]}, are {other[:12]} ({name}.pretrained, or another stage_1)"
            )
        else:
            *path, last = leaf.split(".")
            leaf = ".".join((*path, RENAMED.get(last, last)))
            shown = {"recipe": f"{name}.{leaf}", "hardware": f"{leaf} (training)", "versions": f"version of {leaf}"}
            found.append(f"{shown.get(place, key)} was {one}, is {other}")
    return found


def warn_of_another_machine(name: str, found: Checkpoint, description: dict[str, Any]) -> None:
    """Warn where a training resumes on another kind of machine: it may, but not to the same last bits."""
    before, now = found.description["sessions"][-1], description["sessions"][-1]
    for part in ("hardware", "versions"):
        if changed := [f"{key} was {one}, is {other}" for key, one, other in _changed(before[part], now[part])]:
            logger.warning(
                "%s: resumes with other %s (%s), so its last bits may differ from those of an uninterrupted run",
                name,
                part,
                "; ".join(changed),
            )


def _spell_out(name: str, other: dict[str, Any], description: dict[str, Any]) -> str:
    epochs = other["stage_parameters"]["epochs"]
    return f"{'; '.join(differences(name, other, description))} (epoch {other['epoch']} of {epochs}, {other['folder']})"


def _explains(key: str) -> bool:
    return not key.startswith(("fingerprint", "pixels_fingerprint", "augment"))


def _changed(then: dict[str, Any], now: dict[str, Any], place: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for key in sorted(then.keys() | now.keys()):
        one, other = then.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += _changed(one, other, f"{place}{key}.")
        elif one != other:
            found.append((f"{place}{key}", one, other))
    return found


def _megabytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) // 10**6
