"""Probe cells: the same everywhere, told apart by a network, and no other network passes for it."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from malaria_kedro.learning.metadata import ProbeRecord
from malaria_kedro.learning.network import build_network, cpu_state
from malaria_kedro.learning.probe import CELLS, Probe, measure_probe, probe_cells
from metadata_material import with_metadata
from network_material import shape


@pytest.mark.parametrize(
    ("size", "sha256"),
    [(32, "6f245c84aec0b5f8"), (64, "abe4c8bc144953a4")],
)
def test_the_cells_are_the_same_with_every_version_of_every_library(size, sha256):
    # Stored probes are of these cells: others need another number of them, so that old probes are refused.
    cells = probe_cells(size)
    assert (cells.dtype, cells.shape) == (np.uint8, (CELLS, size, size, 3))
    assert hashlib.sha256(cells).hexdigest()[:16] == sha256


def test_no_two_cells_are_alike():
    cells = probe_cells(16)
    assert len({cell.tobytes() for cell in cells}) == CELLS


def probe_of(classifier) -> Probe:
    return measure_probe(classifier.network(), classifier.metadata)


@pytest.fixture(scope="module")
def probe(trained) -> Probe:
    """What the small training's network computes."""
    return probe_of(trained.classifier)


def test_a_probe_comes_back_from_json(probe):
    back = Probe.from_record(ProbeRecord.model_validate_json(probe.record().model_dump_json()))
    assert np.array_equal(back.p, probe.p)
    assert np.array_equal(back.features, probe.features)


@pytest.mark.parametrize("change", [{"cells": 12}, {"p_parasitized": [0.5]}, {"features": [[1.0]]}], ids=str)
def test_a_probe_of_other_cells_is_refused(probe, change):
    with pytest.raises(ValueError, match="export the classifier again"):
        Probe.from_record(probe.record().model_copy(update=change))


def test_the_temperature_of_the_metadata_counts(trained, probe):
    hot = with_metadata(trained.classifier, calibration={"temperature": 2.0})
    found = probe_of(hot)
    np.testing.assert_allclose(np.log(found.p / (1 - found.p)), np.log(probe.p / (1 - probe.p)) / 2, rtol=1e-6)


def test_another_networks_features_do_not_correlate(trained, probe):
    torch.manual_seed(3)
    untrained = cpu_state(build_network("slim_resnet", slim_resnet=shape()))
    other = probe_of(dataclasses.replace(trained.classifier, state=untrained))
    centred = [found.features - found.features.mean(axis=0) for found in (probe, other)]
    assert abs(np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1]) < 0.7
