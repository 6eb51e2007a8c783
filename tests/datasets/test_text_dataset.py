"""TextDataset: a text on disk, and in kedro-viz."""

from malaria_kedro.datasets.text_dataset import TextDataset


def test_a_text_comes_back_as_it_went_and_is_shown_in_letters_of_one_width(tmp_path):
    dataset = TextDataset(filepath=tmp_path / "model_summary.txt")
    dataset.save("Conv2d  64 × 32 <1>\n")
    assert dataset.load() == "Conv2d  64 × 32 <1>\n"
    assert dataset.preview() == "<pre>Conv2d  64 × 32 &lt;1&gt;\n</pre>"
