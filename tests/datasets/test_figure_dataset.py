"""FigureDataset: a figure goes in; its SVG comes out, or the PNG of one with photographs."""

import base64
import inspect
import io

import pytest
from kedro.io import DatasetError, Version
from matplotlib.figure import Figure
from PIL import Image

from malaria_kedro.datasets.figure_dataset import FigureDataset


def draw(dpi: int = 40) -> Figure:
    """A figure with a photograph."""
    figure = Figure(figsize=(2, 1), dpi=dpi)
    figure.subplots().imshow([[1, 2], [3, 4]])
    return figure


def draw_lines() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2, 3])
    return figure


def test_a_figure_is_kept_at_its_own_dpi(tmp_path):
    dataset = FigureDataset(filepath=tmp_path / "deep" / "figure.png")
    assert not dataset.exists()
    dataset.save(draw(dpi=40))
    assert dataset.exists()
    assert Image.open(io.BytesIO(dataset.load())).size == (80, 40)


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    one, two = (FigureDataset(filepath=str(tmp_path / name)) for name in ("1.png", "2.png"))
    one.save(draw())
    two.save(draw())
    assert one.load() == two.load()
    assert "Software" not in Image.open(io.BytesIO(one.load())).info


def test_each_version_is_kept(tmp_path):
    path = tmp_path / "figure.png"
    for version, dpi in (("2026-01-01T00.00.00.000Z", 40), ("2026-01-02T00.00.00.000Z", 80)):
        FigureDataset(filepath=str(path), version=Version(None, version)).save(draw(dpi))
    latest = FigureDataset(filepath=str(path), version=Version(None, None))
    assert Image.open(io.BytesIO(latest.load())).size == (160, 80)
    first = FigureDataset(filepath=str(path), version=Version("2026-01-01T00.00.00.000Z", None))
    assert Image.open(io.BytesIO(first.load())).size == (80, 40)


def test_a_failed_drawing_leaves_the_old_figure_alone(tmp_path, monkeypatch):
    dataset = FigureDataset(filepath=str(tmp_path / "figure.png"))
    dataset.save(draw())
    before = dataset.load()

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(DatasetError, match="disk full"):
        dataset.save(draw(dpi=80))
    assert dataset.load() == before
    assert [path.name for path in tmp_path.iterdir()] == ["figure.png"]


def test_a_figure_of_lines_is_an_svg_with_the_png_beside_it(tmp_path):
    dataset = FigureDataset(filepath=str(tmp_path / "figure.png"))
    dataset.save(draw_lines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "figure.svg"]
    first = dataset.load()
    assert b"<svg " in first
    assert base64.b64decode(dataset.preview())[:4] == b"\x89PNG"
    dataset.save(draw_lines())
    assert dataset.load() == first


def test_a_photograph_takes_the_place_of_lines(tmp_path):
    dataset = FigureDataset(filepath=str(tmp_path / "figure.png"))
    dataset.save(draw_lines())
    dataset.save(draw())
    assert dataset.load()[:4] == b"\x89PNG"


def test_kedro_viz_gets_an_image(tmp_path):
    dataset = FigureDataset(filepath=str(tmp_path / "figure.png"))
    dataset.save(draw())
    assert base64.b64decode(dataset.preview()) == dataset.load()
    # kedro-viz tells kinds of preview apart by the name of this annotation.
    assert "ImagePreview" in str(inspect.signature(dataset.preview).return_annotation)


def test_a_missing_figure_is_an_error_of_the_dataset(tmp_path):
    with pytest.raises(DatasetError, match=r"nothing\.png"):
        FigureDataset(filepath=str(tmp_path / "nothing.png")).load()


def test_another_machine_is_refused():
    with pytest.raises(DatasetError, match=r"s3://bucket/figure\.png.* local path"):
        FigureDataset(filepath="s3://bucket/figure.png")


def test_it_describes_itself(tmp_path):
    assert "figure.png" in str(FigureDataset(filepath=str(tmp_path / "figure.png")))
