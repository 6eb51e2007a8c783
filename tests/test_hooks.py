"""What is checked before a run, and what is said of phantoms."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner

from malaria_kedro.datasets.checkpoints_dataset import CheckpointsDataset
from malaria_kedro.errors import MalariaKedroError
from malaria_kedro.files import LockError
from malaria_kedro.hooks import DataFolderHooks, ParameterHooks, RunnerError, VersionHooks
from malaria_kedro.learning.lock import training_lock
from malaria_kedro.learning.weights import WeightsError
from malaria_kedro.parameters import ParameterError
from malaria_kedro.pipeline_registry import register_pipelines
from malaria_kedro.pipelines.inference.nodes import InferenceError
from malaria_kedro.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS, VARIANTS
from malaria_kedro.versions import timestamp


def context(env: str, **runtime):
    """Return a context with the project's own configuration."""
    conf = str(Path(__file__).parents[1] / "conf")
    loader = CONFIG_LOADER_CLASS(conf, env=env, runtime_params=runtime, **CONFIG_LOADER_ARGS)
    return SimpleNamespace(config_loader=loader)


def test_good_parameters_pass():
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo"))
    hooks.before_pipeline_run({}, Pipeline([]), DataCatalog())


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
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context(env, **runtime))
    hooks.before_pipeline_run({}, Pipeline([]), DataCatalog())
    hooks.after_pipeline_run()
    assert caplog.text.count("phantom cells") == (2 if warned else 0)


@pytest.mark.parametrize("name", ["__default__", "modeling", "cross_validation", "learning_rate"])
def test_weights_that_are_not_there_are_found_before_any_node(name):
    hooks = ParameterHooks(VARIANTS)
    pretrained = {"pretrained": "nowhere.pth"}
    hooks.after_context_created(context("demo", resnet18=pretrained, resnet34=pretrained))
    pipeline = register_pipelines()[name]
    with pytest.raises(WeightsError, match=r"'nowhere\.pth'"):
        hooks._find_weights(pipeline)


@pytest.mark.parametrize("name", ["data_engineering", "reporting", "export", "inference"])
def test_what_trains_nothing_needs_no_weights(name):
    hooks = ParameterHooks(VARIANTS)
    inference = {"images": "new_cells"}
    hooks.after_context_created(context("demo", resnet18={"pretrained": "nowhere.pth"}, inference=inference))
    hooks.before_pipeline_run(SEQUENTIAL, register_pipelines()[name], DataCatalog())


@pytest.mark.parametrize("content", [b"", bytes(range(256))], ids=["empty", "garbage"])
def test_weights_that_are_none_are_found_before_any_node(tmp_path, content):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(content)
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo", resnet18={"pretrained": str(weights)}))
    with pytest.raises(WeightsError, match=r"weights\.pth cannot be read as weights"):
        hooks._find_weights(register_pipelines()["modeling"])


# The tables of a user

TABLES = {
    "missing": (None, "does not exist", "cannot be read"),
    "empty": (b"", "cannot be read (", "names no cell"),
    "garbage": (bytes(range(256)), "cannot be read", "no CSV in UTF-8"),
}


@pytest.mark.parametrize("key", ["labels", "patients", "exclude"])
@pytest.mark.parametrize("damage", TABLES)
def test_a_table_that_is_none_is_found_before_any_node(tmp_path, key, damage):
    content, told_of_rows, told_of_names = TABLES[damage]
    table = tmp_path / "table.csv"
    if content is not None:
        table.write_bytes(content)
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo", source={key: str(table)}))
    with pytest.raises(MalariaKedroError) as caught:
        hooks.before_pipeline_run(SEQUENTIAL, register_pipelines()["data_engineering"], DataCatalog())
    assert all(word in str(caught.value) for word in (f"source.{key}", "table.csv"))
    assert (told_of_names if key == "exclude" else told_of_rows) in str(caught.value)


def test_a_run_that_reads_no_tables_does_not_look_for_them():
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo", source={"exclude": "nowhere.csv"}))
    hooks.before_pipeline_run(SEQUENTIAL, register_pipelines()["reporting"], DataCatalog())


def test_no_images_are_found_out_before_any_node():
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo"))
    with pytest.raises(InferenceError, match=r"inference\.images"):
        hooks.before_pipeline_run(SEQUENTIAL, register_pipelines()["inference"], DataCatalog())


# Trainings

SEQUENTIAL = {"runner": "<kedro.runner.sequential_runner.SequentialRunner object>"}


@pytest.fixture
def checkpoints(tmp_path):
    return tmp_path / "small" / "checkpoints"


def before_run(checkpoints, *, trains: bool = True, run_params=SEQUENTIAL, **training) -> None:
    """Call the hook for a pipeline of one stage of the variant ``small`` (or for one that trains nothing)."""
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo", training=training))
    inputs = ["small.checkpoints", *(["run_state"] if trains else [])]
    hooks.before_pipeline_run(
        run_params=run_params,
        pipeline=Pipeline([node(lambda *handles: handles, inputs, "out", name="work")]),
        catalog=DataCatalog({"small.checkpoints": CheckpointsDataset(filepath=str(checkpoints))}),
    )


def test_a_run_beside_another_one_on_the_same_checkpoints_is_stopped(checkpoints):
    with training_lock(checkpoints), pytest.raises(LockError, match="another run is training"):
        before_run(checkpoints)


def test_the_lock_is_left_to_the_training(checkpoints):
    before_run(checkpoints)
    with training_lock(checkpoints):
        assert checkpoints.is_dir()


def test_a_run_that_trains_nothing_does_not_care(checkpoints):
    with training_lock(checkpoints):
        before_run(checkpoints, trains=False, resume="require")


def test_there_has_to_be_something_to_continue(checkpoints):
    with pytest.raises(RuntimeError, match=r"resume is require, .*training\.resume=auto"):
        before_run(checkpoints, resume="require")


def test_what_there_is_to_continue_is_looked_at_later(checkpoints):
    folder = checkpoints / "stage_1" / "0123456789ab"
    folder.mkdir(parents=True)
    (folder / "epoch_001.safetensors").write_bytes(b"whatever it is")
    before_run(checkpoints, resume="require")


def test_threads_would_share_one_random_state(checkpoints):
    with pytest.raises(RunnerError, match="SequentialRunner"):
        before_run(checkpoints, run_params={"runner": "<kedro.runner.thread_runner.ThreadRunner object>"})


def test_threads_search_for_no_learning_rate():
    hooks = ParameterHooks(VARIANTS)
    hooks.after_context_created(context("demo"))
    threads = {"runner": "<kedro.runner.thread_runner.ThreadRunner object>"}
    with pytest.raises(RunnerError, match="SequentialRunner"):
        hooks.before_pipeline_run(threads, register_pipelines()["learning_rate"], DataCatalog())


# The data folder


def data_folder_hooks(project: Path, data_dir: str | None = "data") -> DataFolderHooks:
    hooks = DataFolderHooks()
    globals_ = {} if data_dir is None else {"data_dir": data_dir}
    hooks.after_context_created(SimpleNamespace(config_loader={"globals": globals_}, project_path=project))
    return hooks


def test_a_second_run_in_a_data_folder_is_told_in_a_sentence(tmp_path):
    first, second = data_folder_hooks(tmp_path), data_folder_hooks(tmp_path)
    first.before_pipeline_run()
    with pytest.raises(LockError, match=r"works in .*data .*wait until it has ended"):
        second.before_pipeline_run()
    first.after_pipeline_run()
    second.before_pipeline_run()


@pytest.mark.parametrize("ended", ["after_pipeline_run", "on_pipeline_error", "before_pipeline_run"])
def test_a_run_that_has_ended_lets_the_next_one_in(tmp_path, ended):
    hooks = data_folder_hooks(tmp_path)
    hooks.before_pipeline_run()
    getattr(hooks, ended)()  # the last: a run that Ctrl-C broke off in a notebook called neither of the others
    if ended == "before_pipeline_run":
        hooks.after_pipeline_run()
    data_folder_hooks(tmp_path).before_pipeline_run()


def test_runs_in_two_data_folders_do_not_care_for_each_other(tmp_path):
    data_folder_hooks(tmp_path, "data").before_pipeline_run()
    data_folder_hooks(tmp_path, "data/demo").before_pipeline_run()
    assert (tmp_path / "data" / ".lock").exists()
    assert (tmp_path / "data" / "demo" / ".lock").exists()


def test_a_run_clears_up_what_killed_runs_have_left(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="malaria_kedro")
    left = tmp_path / "data" / "06_models" / "classifier" / "2026-01-01T00.00.00.000Z" / ".classifier.part"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(bytes(4_700_000))
    data_folder_hooks(tmp_path).before_pipeline_run()
    assert "removed 4.7 MB" in caplog.text
    assert not left.exists()


# Versions

FUTURE = "2999-01-01T00.00.00.000Z"


@pytest.fixture
def versioned(tmp_path):
    """A catalog of two datasets, of which ``made`` has a version that is dated in the future."""
    catalog = DataCatalog.from_config(
        {
            name: {"type": "json.JSONDataset", "filepath": str(tmp_path / f"{name}.json"), "versioned": True}
            for name in ("made", "read")
        },
        save_version=timestamp(),
    )
    for version in (FUTURE, "2026-01-01T00.00.00.000Z"):
        path = tmp_path / "made.json" / version / "made.json"
        path.parent.mkdir(parents=True)
        path.write_text(f'"{version}"')
    return catalog


def run_with_hooks(catalog: DataCatalog, pipeline: Pipeline) -> None:
    """Run as Kedro does, with the hooks of versions."""
    manager = _create_hook_manager()
    manager.register(VersionHooks())
    manager.hook.before_pipeline_run(run_params=SEQUENTIAL, pipeline=pipeline, catalog=catalog)
    SequentialRunner().run(pipeline, catalog, manager)


def make() -> str:
    return "of this run"


def test_a_run_goes_on_with_what_it_made(versioned, recwarn):
    run_with_hooks(versioned, Pipeline([node(make, None, "made"), node(lambda made: made, "made", "read")]))
    assert versioned.load("read") == "of this run"
    assert not [warning for warning in recwarn if "did not match" in str(warning.message)]


def test_a_run_that_makes_nothing_takes_the_newest_and_warns_of_the_future(versioned, caplog, tmp_path):
    run_with_hooks(versioned, Pipeline([node(lambda made: made, "made", "read")]))
    assert versioned.load("read") == FUTURE
    assert f"{tmp_path / 'made.json' / FUTURE} sorts as newer than now" in caplog.text


def test_a_version_that_was_asked_for_is_loaded_and_not_warned_of(tmp_path, versioned, caplog):
    asked = DataCatalog.from_config(
        {"made": {"type": "json.JSONDataset", "filepath": str(tmp_path / "made.json"), "versioned": True}},
        load_versions={"made": "2026-01-01T00.00.00.000Z"},
        save_version=timestamp(),
    )
    run_with_hooks(asked, Pipeline([node(lambda made: made, "made", "out")]))
    assert asked.load("made") == "2026-01-01T00.00.00.000Z"
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_runner_without_hooks_is_refused_where_the_future_would_win(versioned):
    with pytest.raises(RunnerError, match=r"2999.*is of the future.*SequentialRunner"):
        VersionHooks().before_pipeline_run(
            run_params={"runner": "ParallelRunner"}, pipeline=Pipeline([node(make, None, "made")]), catalog=versioned
        )


# What a node looks for on disk while another one makes it

ONE_BY_ONE = "in this run: run them one after the other"


def before(*pipelines: str, runner: str = "SequentialRunner", **filters) -> None:
    """Call the hook for pipelines of the project, with the project's own catalog."""
    catalog = DataCatalog.from_config(context("demo").config_loader["catalog"])
    pipeline = sum((register_pipelines()[name] for name in pipelines), start=Pipeline([])).filter(**filters)
    VersionHooks().before_pipeline_run(run_params={"runner": runner}, pipeline=pipeline, catalog=catalog)


@pytest.mark.parametrize("other", ["modeling", "export", "__default__"])
def test_cells_are_not_read_with_what_the_same_run_trains_or_exports(other):
    made = "onnx" if other == "export" else "classifier"
    with pytest.raises(RunnerError, match=rf"read_new_cells would take the newest .*/{made} .*{ONE_BY_ONE}"):
        before(other, "inference")


def test_cells_may_be_read_beside_what_makes_no_classifier():
    before("reporting", "cross_validation", "learning_rate", "inference")
    before("modeling", "inference", from_nodes=["summarise_new_patients", "resnet18.join_histories"])
