"""``kedro run`` of the installed package, outside a project."""

from __future__ import annotations

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
    monkeypatch.setattr(packaged, "find_run_command", lambda name: lambda *words, **how: asked.update(how, name=name))
    packaged.main([])
    assert asked == {"standalone_mode": False, "name": "malaria_kedro"}
