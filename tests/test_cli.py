"""Which errors are told in one sentence, and which keep their traceback."""

from kedro.config import MissingConfigException
from kedro.io import DatasetError

from malaria_kedro.cells.splits import SplitError
from malaria_kedro.cli import own_error


def raised_from(error: Exception, cause: Exception | None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_an_error_of_this_project_is_found():
    error = SplitError("too few cells")
    assert own_error(error) is error


def test_it_is_found_below_what_kedro_wrapped_around_it():
    error = SplitError("too few cells")
    assert own_error(raised_from(DatasetError("failed while saving"), error)) is error


def test_a_missing_environment_is_told_too():
    assert own_error(MissingConfigException("no conf/moon")) is not None


def test_a_stranger_keeps_its_traceback():
    assert own_error(raised_from(RuntimeError("a bug"), KeyError("x"))) is None
