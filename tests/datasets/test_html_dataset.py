"""HTMLDataset: a page goes to disk whole or not at all."""

import pytest
from kedro.io import DatasetError, Version

from malaria_kedro.datasets.html_dataset import HTMLDataset


def test_a_page_comes_back_as_it_went(tmp_path):
    dataset = HTMLDataset(filepath=tmp_path / "deep" / "report.html")
    assert not dataset.exists()
    dataset.save("<p>µ – ×</p>\n")
    assert dataset.exists()
    assert dataset.load() == "<p>µ – ×</p>\n"


def test_each_version_is_kept(tmp_path):
    path = str(tmp_path / "report.html")
    for version in ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"):
        HTMLDataset(filepath=path, version=Version(None, version)).save(version)
    assert HTMLDataset(filepath=path, version=Version(None, None)).load() == "2026-01-02T00.00.00.000Z"
    versions = HTMLDataset(filepath=path, version=Version(None, None)).list_versions(full_path=False)
    assert versions == ["2026-01-02T00.00.00.000Z", "2026-01-01T00.00.00.000Z"]


def test_a_version_is_not_written_twice(tmp_path):
    version = Version(None, "2026-01-01T00.00.00.000Z")
    HTMLDataset(filepath=str(tmp_path / "report.html"), version=version).save("one")
    with pytest.raises(DatasetError, match="must not exist"):
        HTMLDataset(filepath=str(tmp_path / "report.html"), version=version).save("two")


def test_a_failed_write_leaves_the_old_page_alone(tmp_path, monkeypatch):
    dataset = HTMLDataset(filepath=str(tmp_path / "report.html"))
    dataset.save("old")

    def fail(*_args):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(DatasetError, match="disk full"):
        dataset.save("new")
    assert dataset.load() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_another_machine_is_refused():
    with pytest.raises(DatasetError, match="local path"):
        HTMLDataset(filepath="https://example.org/report.html")


def test_the_last_version_is_also_where_it_can_always_be_found(tmp_path):
    path = str(tmp_path / "report.html")
    for version in ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"):
        HTMLDataset(filepath=path, version=Version(None, version)).save(version)
    assert (tmp_path / "latest_report.html").read_text() == "2026-01-02T00.00.00.000Z"


def test_commands_name_the_environment_that_the_page_is_of(tmp_path):
    dataset = HTMLDataset(filepath=tmp_path / "report.html", environment="demo")
    dataset.save("<code>kedro run --pipelines reporting</code>, kedro run --env cpu")
    assert dataset.load() == "<code>kedro run --env demo --pipelines reporting</code>, kedro run --env cpu"


def test_kedro_viz_shows_a_model_card_without_the_metadata_before_it(tmp_path):
    dataset = HTMLDataset(filepath=tmp_path / "model_card.md")
    dataset.save("---\nlicense: apache-2.0\n---\n# resnet18\n")
    assert dataset.preview() == "# resnet18\n"
