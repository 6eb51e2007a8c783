"""Where the weights lie that a training starts from.

Imports no torch, because a run looks for them before it does anything.
"""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISDIR

from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import look_at, refuse_device
from malaria_kedro.learning.metadata import (
    GATE,
    METADATA,
    WEIGHTS,
    check_classifier,
    name_network,
    newest_classifier,
)
from malaria_kedro.parameters import SlimResnet


class WeightsError(MalariaKedroError, ValueError):
    """Weights cannot be found, read or loaded; the message says what is wrong and how to supply them."""


def find_weights(pretrained: str, arch: str, slim_resnet: SlimResnet | None = None) -> Path:
    """Return the file of the weights that ``pretrained`` names: the file itself, or that of a classifier's folder.

    ``~`` is the home folder, and a relative path starts where the command is run.

    Raises:
        WeightsError: there is none, or it is a classifier's of another architecture or shape.
    """
    path = Path(os.path.expanduser(pretrained))
    try:
        there, newest = look_at(path), newest_classifier(path)
        refuse_device(path)
    except OSError as error:
        why = error.strerror or error
        raise WeightsError(f"pretrained is {pretrained!r}, but {why}; give a file or a folder") from error
    if there is None:
        raise WeightsError(
            f"pretrained is {pretrained!r}: neither imagenet, none, nor an existing file or folder (relative paths "
            f"start at {Path.cwd()}); correct the path"
        )
    if S_ISDIR(there.st_mode):
        if newest is None:
            raise WeightsError(
                f"{path} has no {WEIGHTS}: it is not the folder of a classifier, nor of its versions; set pretrained "
                "to one, to a file of weights, to imagenet or to none"
            )
        path = newest / WEIGHTS
    folder = path.parent
    # Otherwise they are a stage's weights, or someone else's.
    if path.name == WEIGHTS and any((folder / part).is_file() for part in (METADATA, GATE)):
        try:
            found = check_classifier(folder)[0]
        except (OSError, ValueError) as error:
            raise WeightsError(f"{folder} is not the folder of a classifier: {error}") from error
        if found.architecture != arch:
            raise WeightsError(
                f"{folder} holds a {found.architecture}, but arch is {arch}; set arch to {found.architecture} or take "
                "another"
            )
        if found.slim_resnet != slim_resnet:
            raise WeightsError(
                f"{folder} holds a {found.network}, but the variant is a {name_network(arch, slim_resnet)}; set its "
                "slim_resnet to that shape or take another classifier"
            )
    return path
