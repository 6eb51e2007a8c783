"""What is checked before a run, and what is said of phantoms."""

import logging
from types import SimpleNamespace

import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node

from malaria_kedro.datasets.checkpoints_dataset import CheckpointsDataset
from malaria_kedro.hooks import ParameterHooks, PhantomHooks, RunnerError, TrainingHooks
from malaria_kedro.learning.interruption import THIS_RUN, UnfinishedError
from malaria_kedro.learning.lock import LockError, only_one
from malaria_kedro.parameters import ParameterError
from malaria_kedro.settings import CONFIG_LOADER_ARGS, VARIANTS


def context(env: str, **runtime):
    """Return a context with the project's own configuration."""
    from pathlib import Path

    conf = str(Path(__file__).parents[1] / "conf")
    loader = OmegaConfigLoader(conf, env=env, runtime_params=runtime, **CONFIG_LOADER_ARGS)
    return SimpleNamespace(config_loader=loader)


def test_good_parameters_pass():
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo"))
    hooks.before_pipeline_run(run_params={})


def test_a_wrong_one_stops_the_run():
    with pytest.raises(ParameterError, match=r"split\.valid_pct"):
        ParameterHooks(VARIANTS).after_context_created(context("demo", split={"valid_pct": 2}))


def test_a_variant_without_a_block_is_named():
    with pytest.raises(ParameterError, match="resnet50"):
        ParameterHooks((*VARIANTS, "resnet50")).after_context_created(context("demo"))


@pytest.mark.parametrize(
    ("env", "runtime", "warned"),
    [("demo", {}, True), ("cpu", {}, False), ("demo", {"source": {"path": "x.zip"}}, False)],
)
def test_phantoms_are_announced(env, runtime, warned, caplog):
    hooks = PhantomHooks()
    hooks.after_context_created(context(env, **runtime))
    hooks.before_pipeline_run()
    assert ("phantom cells" in caplog.text) is warned


# Trainings

SEQUENTIAL = {"runner": "<kedro.runner.sequential_runner.SequentialRunner object>"}


@pytest.fixture
def checkpoints(tmp_path):
    return tmp_path / "small" / "checkpoints"


def before_run(checkpoints, *, trains: bool = True, run_params=SEQUENTIAL, **training) -> None:
    """Call the hook for a pipeline of one stage of the variant ``small`` (or for one that trains nothing)."""
    hooks = TrainingHooks()
    hooks.after_context_created(context("demo", training=training))
    tags = "training" if trains else None
    hooks.before_pipeline_run(
        run_params=run_params,
        pipeline=Pipeline([node(lambda handle: handle, "small.checkpoints", "out", name="work", tags=tags)]),
        catalog=DataCatalog({"small.checkpoints": CheckpointsDataset(filepath=str(checkpoints))}),
    )


def test_a_run_begins_with_nothing_counted(checkpoints):
    THIS_RUN.epochs, THIS_RUN.continued = 7, True
    before_run(checkpoints)
    assert (THIS_RUN.epochs, THIS_RUN.continued, THIS_RUN.signal) == (0, False, None)


def test_a_run_beside_another_one_on_the_same_checkpoints_is_stopped(checkpoints):
    with only_one(checkpoints), pytest.raises(LockError, match="another run is training"):
        before_run(checkpoints)


def test_the_lock_is_left_to_the_training(checkpoints):
    before_run(checkpoints)
    with only_one(checkpoints):
        assert checkpoints.is_dir()


def test_a_run_that_trains_nothing_does_not_care(checkpoints):
    with only_one(checkpoints):
        before_run(checkpoints, trains=False, resume="require")


def test_there_has_to_be_something_to_continue(checkpoints):
    with pytest.raises(RuntimeError, match=r"resume is require, but there is no checkpoint.*training\.resume=auto"):
        before_run(checkpoints, resume="require")


def test_what_there_is_to_continue_is_looked_at_later(checkpoints):
    folder = checkpoints / "stage_1" / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / "epoch_001.safetensors").write_bytes(b"whatever it is")
    before_run(checkpoints, resume="require")


def test_threads_would_share_one_random_state(checkpoints):
    with pytest.raises(RunnerError, match="SequentialRunner"):
        before_run(checkpoints, run_params={"runner": "<kedro.runner.thread_runner.ThreadRunner object>"})


@pytest.mark.parametrize(("error", "logged"), [(UnfinishedError("to be continued"), False), (ValueError("bad"), True)])
def test_stopping_as_asked_is_not_logged_as_a_failure(checkpoints, error, logged, caplog):
    before_run(checkpoints)

    def work(_):
        raise error

    caplog.set_level(logging.INFO, logger="kedro.pipeline.node")
    with pytest.raises(type(error)):
        node(work, "x", "y", name="work").run({"x": 1})
    assert ("failed with error" in caplog.text) is logged
