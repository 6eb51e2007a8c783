"""The console command: help at once, errors in a sentence, exit codes. What it reads is tested in whole runs."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from malaria_kedro.cli.console import main


def test_help_comes_without_torch():
    code = (
        "import sys; from malaria_kedro.cli.console import main\n"
        "try: main(['predict', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'fastai', 'kedro', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Exit codes" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_not_there_is_said_in_a_sentence():
    done = CliRunner().invoke(main, ["predict", "no_such_folder"])
    assert done.exit_code == 1
    assert "no_such_folder is not there" in done.output
    assert "Traceback" not in done.output


def test_what_cannot_be_looked_at_is_not_called_missing(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "loop" / "cells")])
    assert done.exit_code == 1
    assert "cells cannot be used (" in done.output
    assert "; check it, its rights" in done.output


def test_a_model_that_may_not_be_looked_into_is_said_in_a_sentence(tmp_path, without_rights):
    (tmp_path / "classifier").mkdir()
    (tmp_path / "cells").mkdir()
    options = ["--model", str(tmp_path / "classifier"), "--out", str(tmp_path / "out")]
    command = ["predict", str(tmp_path / "cells"), *options]
    # Who may read nothing may not read the libraries either: they are imported before.
    assert "holds no classifier" in CliRunner().invoke(main, command).output
    with without_rights(tmp_path / "classifier"):
        done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "cannot be looked at (Permission denied)" in done.output
    assert "Traceback" not in done.output


def test_an_address_is_no_folder_and_told_without_its_secrets():
    done = CliRunner().invoke(main, ["predict", "https://user:s3cret@host/x.zip?token=t0ken"])
    assert done.exit_code == 1
    assert "https:/…@host/x.zip?…" in done.output
    assert not any(secret in done.output for secret in ("user", "s3cret", "t0ken"))


@pytest.mark.parametrize("words", [[""], ["x", "--model", ""], ["x", "--patient-pattern="], ["x", "--out", " "]])
def test_an_empty_word_is_no_default(words):
    done = CliRunner().invoke(main, ["predict", *words])
    assert done.exit_code == 2
    assert "is empty: is a shell variable unset?" in done.output


def test_a_wrong_backend_is_wrong_usage():
    done = CliRunner().invoke(main, ["predict", "x", "--backend", "abacus"])
    assert done.exit_code == 2
    assert "abacus" in done.output


def test_run_is_kedro_run():
    done = subprocess.run(
        [sys.executable, "-m", "malaria_kedro.cli.console", "run", "--help"], capture_output=True, text=True, check=True
    )
    assert "--pipelines" in done.stdout


def test_a_wrong_bit_depth_is_wrong_usage():
    done = CliRunner().invoke(main, ["predict", "x", "--bit-depth", "11"])
    assert done.exit_code == 2
    assert "'8', '10', '12', '14', '16'" in done.output
