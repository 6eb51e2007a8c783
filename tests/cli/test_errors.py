"""Which errors are told in one sentence, which keep their traceback, and what SIGTERM does."""

import errno
import os
import signal

import pandas as pd
import pytest
from kedro.config import MissingConfigException
from kedro.framework.cli.utils import KedroCliError
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Pipeline
from omegaconf.errors import InterpolationKeyError
from yaml import YAMLError

from malaria_kedro.cells.splits import SplitError
from malaria_kedro.cli.errors import Terminated, find_user_error, terminated_like_interrupted


def raised_from(error: Exception, cause: Exception | None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_an_error_of_this_project_is_found():
    error = SplitError("too few cells")
    assert find_user_error(error) is error


def test_it_is_found_below_what_kedro_wrapped_around_it():
    error = SplitError("too few cells")
    assert find_user_error(raised_from(DatasetError("failed while saving"), error)) is error


def test_a_missing_environment_is_told_too():
    assert find_user_error(MissingConfigException("no conf/moon")) is not None


def a_value_that_kedro_refuses() -> Exception:
    with pytest.raises(ValueError, match="named") as caught:
        Pipeline([]).only_nodes("x")
    return caught.value


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (DatasetError("Failed while loading data from dataset X(filepath=a.csv).\n  no   a.csv"), "X(filepath=a.csv)"),
        (KedroCliError("two ways"), "two ways"),
        (YAMLError("a tab"), "a tab"),
        (InterpolationKeyError("no key x\n    full_key: a.b"), "a.b"),
        (a_value_that_kedro_refuses(), "'x'"),
    ],
    ids=["dataset", "command line", "YAML", "OmegaConf", "value"],
)
def test_what_kedro_and_its_libraries_refuse_is_one_line(error, named):
    said = str(find_user_error(raised_from(RuntimeError("a hook failed"), error)))
    assert named in said
    assert len(said.splitlines()) == 1
    assert "  " not in said


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), FileNotFoundError(errno.ENOENT, "No such file", "x"), PermissionError(errno.EACCES, "denied")],
    ids=["a key", "a file that should be there", "a file without a name"],
)
def test_a_stranger_keeps_its_traceback(error):
    assert find_user_error(raised_from(RuntimeError("a bug"), error)) is None


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EACCES, "Permission denied"), (errno.EROFS, "Read-only file system"), (errno.EIO, "Input/output error")],
)
@pytest.mark.parametrize("name", ["data/metrics.json", b"data/metrics.json"], ids=["text", "bytes"])
def test_a_file_that_the_machine_denies_is_named(number, said, name):
    found = find_user_error(
        raised_from(DatasetError("failed while saving"), OSError(number, os.strerror(number), name))
    )
    assert str(found).startswith(f"data/metrics.json cannot be used ({said}); ")


@pytest.fixture
def splits(tmp_path):
    """The catalog's cell_splits, of an earlier version on disk."""
    pd.DataFrame({"cell_id": ["C1_1"], "side": ["train"]}).to_parquet(tmp_path / "splits.parquet")
    entry = {"type": "pandas.ParquetDataset", "filepath": str(tmp_path / "splits.parquet")}
    return DataCatalog.from_config({"cell_splits": entry | {"validator": "malaria_kedro.cells.schemas.CellSplits"}})


def test_a_table_of_another_version_is_told_with_the_remedy(splits):
    with pytest.raises(DatasetError) as caught:
        splits.load("cell_splits")
    said = str(find_user_error(raised_from(RuntimeError("a node failed"), caught.value)))
    assert said.startswith("cell_splits on disk is not a table of this version of the project (")
    assert all(column in said for column in ("column_in_schema, side", "column_in_dataframe, split"))
    assert said.endswith("with kedro run --pipelines data_engineering")
    assert len(said.splitlines()) == 1


def test_a_table_that_a_node_made_wrong_is_a_bug_and_keeps_its_traceback(splits):
    with pytest.raises(DatasetError) as caught:
        splits.save("cell_splits", pd.DataFrame({"cell_id": ["C1_1"]}))
    assert find_user_error(caught.value) is None


def test_what_is_half_written_can_be_removed_when_sigterm_comes():
    before, cleared = signal.getsignal(signal.SIGTERM), []

    def write() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleared.append("part")

    with pytest.raises(Terminated), terminated_like_interrupted():
        write()
    assert cleared == ["part"]
    assert signal.getsignal(signal.SIGTERM) == before
