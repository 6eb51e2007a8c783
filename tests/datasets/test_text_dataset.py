"""TextDataset: a text on disk, shown by kedro-viz as it is."""

import inspect

from malaria_kedro.datasets.text_dataset import TextDataset


def test_a_text_comes_back_as_it_went_and_is_previewed(tmp_path):
    dataset = TextDataset(filepath=tmp_path / "model_summary.txt")
    dataset.save("Conv2d  64 × 32\n")
    assert dataset.load() == dataset.preview() == "Conv2d  64 × 32\n"


def test_kedro_viz_is_told_that_it_is_text():
    assert inspect.signature(TextDataset.preview, eval_str=True).return_annotation.__name__ == "TextPreview"
