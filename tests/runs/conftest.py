"""Copies of the project that tests run in."""

from __future__ import annotations

from pathlib import Path

import pytest
from project import Project


@pytest.fixture
def new_project(tmp_path: Path) -> Project:
    """A copy of the project in which nothing has been run."""
    return Project(tmp_path)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project in which ``make run`` has been run; ``demo.log`` is its output.

    It is there to be looked at: a test that runs anything which writes asks for ``demo_copy``.
    """
    project = Project(tmp_path_factory.mktemp("demo"))
    project.log = project.make_run()
    return project


@pytest.fixture
def demo_copy(demo: Project, tmp_path: Path) -> Project:
    """A copy of ``demo`` that belongs to one test."""
    return demo.copied_to(tmp_path / "demo")
