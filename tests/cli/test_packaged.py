"""The installed package's own command: ``kedro run`` outside a project, and a broken configuration of logging."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from malaria_kedro.cli import packaged


def test_it_is_the_projects_own_run_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        packaged.main(["--help"])
    assert ended.value.code == 0
    assert "--env" in capsys.readouterr().out


def test_an_interpreter_gets_the_result_and_no_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(packaged.sys, "ps1", ">>> ", raising=False)
    monkeypatch.setattr(
        "kedro.framework.cli.utils.find_run_command", lambda name: lambda *words, **how: asked.update(how, name=name)
    )
    packaged.main([])
    assert asked == {"standalone_mode": False, "name": "malaria_kedro"}


# name → (content of conf/logging.yml, what the sentence has)
CONFIGURATIONS: dict[str, tuple[str, str]] = {
    "broken": ("version: 1\na: [\n", "(line 3: "),
    "no keys": ("hello\n", "(it does not hold keys, "),
    "an unknown handler": ("version: 1\nroot: {handlers: [x]}\n", "(Unable to add handler 'x')"),
    "an unknown class": ("version: 1\nhandlers: {x: {class: no.Such}}\n", "(Module 'no' "),
}


def refusal(folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "malaria_kedro"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("KEDRO_")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(": mend it, or name another file in KEDRO_LOGGING_CONFIG\n")
    return done.stderr


@pytest.mark.parametrize(("content", "words"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_broken_configuration_of_logging_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/logging.yml").write_text(content)
    assert refusal(tmp_path).startswith(f"Error: conf/logging.yml is no configuration of logging {words}")


def test_a_configuration_of_logging_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, KEDRO_LOGGING_CONFIG="nowhere.yml")
    assert said.startswith(
        "Error: nowhere.yml (KEDRO_LOGGING_CONFIG) is no configuration of logging ([Errno 2] No such"
    )
