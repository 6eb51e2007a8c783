"""The report: one page, whole in itself, with the real numbers in words."""

import base64
import io
from collections import Counter
from html.parser import HTMLParser

import pandas as pd
import pytest
from matplotlib.figure import Figure

from malaria_kedro.interpretation import report
from malaria_kedro.interpretation.comparison import compare_variants
from malaria_kedro.interpretation.metrics import measure
from malaria_kedro.interpretation.report import VariantReport, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """The tags of a page with their attributes, its text, and the tags that were never closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def png() -> bytes:
    content = io.BytesIO()
    Figure(figsize=(2, 1), dpi=50).savefig(content, format="png")
    return content.getvalue()


def summary(**changes) -> dict:
    return {
        "fingerprint": "0123abcd",
        "phantom": False,
        "origin": "cell_images.zip",
        "image_size": 64,
        "classes": ["Parasitized", "Uninfected"],
        "counts": {
            "train": {"Parasitized": 1200, "Uninfected": 1100},
            "valid": {"Parasitized": 3, "Uninfected": 2},
            "test": {"Parasitized": 0, "Uninfected": 0},
        },
        "patients": {"train": 40, "valid": 10, "test": 0},
        "shared_patients": {"train/valid": 0, "train/test": 0, "valid/test": 0},
        "excluded": {"truncated image": 7},
        "strategy": "patient",
        "split": {"valid_pct": 0.2},
    } | changes


PARAMETERS = {"split": {"valid_pct": 0.2}, "image": {"size": 64}}


def entry(name: str = "resnet18", data: dict | None = None, rule: str | int = "last") -> VariantReport:
    predictions = pd.DataFrame(
        {
            "split": "valid",
            "label": ["Parasitized"] * 3 + ["Uninfected"] * 2,
            "p_parasitized": [0.9, 0.8, 0.1, 0.6, 0.2],
            "loss": [0.1, 0.2, 2.3, 0.9, 0.2],
        }
    )
    history = pd.DataFrame(
        {
            "stage": ["stage_1"] * 3,
            "epoch": [1, 2, 3],
            "train_loss": [0.7, 0.4, 0.2],
            "valid_loss": [0.6, 0.3111, 0.4222],
            "accuracy": [0.5, 0.7, 0.6],
            "error_rate": [0.5, 0.3, 0.4],
            "lr": [1e-3, 3e-3, 1e-5],
            "seconds": [4.2, 4.1, 200.0],
        }
    )
    stage = {"epochs": 3, "lr_max": [1e-5, 1e-4]}
    card = {
        "name": name,
        "architecture": "resnet18",
        "pretrained": "none",
        "input": {"size": 64, "channels": "RGB"},
        "parameters": {
            name: {"arch": "resnet18", "batch_size": 512, "stage_1": stage, "stage_2": {"epochs": 0, "lr_max": 1e-3}},
        },
        "data": data or summary(),
        "selected": {"stage": "stage_1", "epoch": 3, "rule": rule, "valid_loss": 0.4222, "accuracy": 0.6},
        "seconds": 431.0,
        "n_parameters": 11_706_949,
        "hardware": {"device": "cpu", "threads": 2},
        "versions": {"torch": "2.15.0"},
        "intended_use": "Research and teaching.",
    }
    figures = {"confusion_matrix": png(), "loss_curves": png(), "top_losses": png()}
    return VariantReport(card, measure(predictions, threshold=0.5), history, figures)


def page(*entries: VariantReport, data: dict | None = None) -> Page:
    entries = entries or (entry(),)
    comparison = compare_variants([e.card for e in entries], [e.metrics for e in entries])
    return Page(
        write_report(
            list(entries), comparison, data or summary(), figures={"batch_preview": png()}, parameters=PARAMETERS
        )
    )


def test_the_page_loads_nothing():
    tags = page().tags
    assert not [tag for tag, _ in tags if tag in {"script", "link", "iframe", "object", "embed"}]
    addresses = [value for _, attributes in tags for key, value in attributes.items() if key in {"src", "href"}]
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)


def test_the_style_loads_nothing():
    html = write_report([entry()], compare_variants([], []), summary(), figures={}, parameters={})
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_every_figure_is_embedded_with_its_size_and_words():
    images = page(entry("a"), entry("b")).all("img")
    assert len(images) == 1 + 2 * 3
    for image in images:
        assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == png()
        assert (image["width"], image["height"]) == ("100", "50")
        assert len(image["alt"]) > 20


def test_alternative_texts_hold_the_numbers():
    _, confusion, curves, worst = (image["alt"] for image in page().all("img"))
    assert "2 parasitized cells found, 1 missed, 1 uninfected cells left alone, 1 called parasitized" in confusion
    assert "Over 3 epochs training loss went from 0.7000 to 0.2000, validation loss from 0.6000 to 0.4222." in curves
    assert "Of 5 cells 2 are predicted wrongly: 1 parasitized cells missed, 1 uninfected" in worst


def test_a_figure_of_a_name_unknown_here_is_shown_all_the_same():
    more = entry()
    more.figures["reliability_diagram"] = png()
    assert "Reliability diagram of resnet18" in page(more).all("img")[-1]["alt"]


def test_ids_are_unique_and_the_contents_lead_somewhere():
    made = page(entry("a"), entry("b"))
    ids = Counter(attributes["id"] for _, attributes in made.tags if "id" in attributes)
    assert max(ids.values()) == 1
    links = [link["href"] for link in made.all("a")]
    assert links == ["#comparison", "#data", "#variant-1", "#variant-2", "#parameters", "#versions"]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert {a["aria-labelledby"] for _, a in made.tags if "aria-labelledby" in a} <= set(ids)


def test_every_tag_is_closed():
    assert page(entry("a"), entry("b")).open == []


def test_every_table_scrolls_in_its_own_box():
    tags = [(tag, attributes.get("class")) for tag, attributes in page().tags]
    before = [tags[place - 1] for place, (tag, _) in enumerate(tags) if tag == "table"]
    assert len(before) == 4
    assert set(before) == {("div", "scroll")}


def test_phantoms_are_announced_and_their_scores_disowned():
    data = summary(phantom=True)
    text = page(entry(data=data), data=data).text
    assert "Every cell of this run was drawn by malaria-kedro itself; none is blood." in text
    assert "are no malaria scores" in text
    assert "phantom cells, not blood" in text


def test_real_cells_are_not_called_phantoms():
    assert "phantom" not in page().text.lower()


def test_research_use_is_stated():
    assert "Research use only, never a diagnosis." in page().text


def test_names_are_escaped():
    bad = "<script>alert(1)</script>"
    made = page(entry(bad), data=summary(origin=bad, excluded={bad: 1}))
    assert not made.all("script")
    assert made.text.count(bad) >= 3


def test_the_data_section_counts_cells_patients_and_exclusions():
    text = page().text
    assert "training 1 200 1 100 2 300 40" in text
    assert "7: truncated image" in text
    assert "0123abcd" in text
    assert "0 of 10 validation patients shared with training." in text


def test_shared_patients_are_a_warning():
    text = page(data=summary(shared_patients={"train/valid": 9})).text
    assert "9 of 10 validation patients shared with training." in text
    assert "the scores flatter" in text


def test_unknown_patients_are_said():
    text = page(data=summary(patients={"train": 0, "valid": 0}, shared_patients={"train/valid": 0})).text
    assert "Which patients the cells come from is not known" in text


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("last", "the last epoch (select: last)"),
        ("best_valid_loss", "the epoch with the lowest validation loss"),
        (3, "the epoch asked for (select: 3)"),
    ],
)
def test_the_exported_epoch_comes_with_its_reason(rule, why):
    assert f"Exported is epoch 3 of stage 1: {why}" in page(entry(rule=rule)).text


def test_an_export_after_the_turn_is_a_warning():
    text = page().text
    assert "Validation loss turned after epoch 2 of stage 1: from 0.3111 it rose to 0.4222" in text
    assert "select: 2 would export the epoch where it turned" in text


def test_the_history_marks_the_exported_epoch():
    text = page().text
    assert "0.3111 70.0 % 30.0 % 0.003 4.1 s lowest validation loss" in text
    assert "0.4222 60.0 % 40.0 % 1e-05 3 min 20 s exported" in text


def test_cited_rows_are_set_apart():
    made = page()
    assert [row.get("class") for row in made.all("tr")].count("cited") == 3
    assert "resnet34, 10 frozen epochs (cited) random, validation 5 511 96.4 % – – –" in made.text


def test_metrics_say_of_how_many():
    text = page().text
    assert "Sensitivity 66.7 % 2 of 3 parasitized cells found" in text
    assert "Specificity 50.0 % 1 of 2 uninfected cells left alone" in text


def test_undefined_metrics_are_dashes_with_a_note():
    one = entry()
    only = pd.DataFrame({"split": "valid", "label": "Uninfected", "p_parasitized": [0.1], "loss": [0.1]})
    text = page(VariantReport(one.card, measure(only, threshold=0.5), one.history, {})).text
    assert "Sensitivity – " in text
    assert "valid: roc_auc is undefined, because every cell is uninfected." in text


def test_parameters_are_written_as_conf_has_them():
    text = page().text
    assert "batch_size: 512" in text
    assert "image: size: 64" in text
    assert "split: valid_pct: 0.2" in text


def test_a_comparison_read_back_from_csv_gives_the_same_page(tmp_path):
    one = entry()
    table = compare_variants([one.card], [one.metrics])
    table.to_csv(tmp_path / "table.csv", index=False)
    pages = {
        write_report([one], comparison, summary(), figures={}, parameters={})
        for comparison in (table, pd.read_csv(tmp_path / "table.csv"))
    }
    assert len(pages) == 1


def test_a_diverged_training_is_reported():
    one = entry()
    broken = VariantReport(one.card, one.metrics, one.history.assign(valid_loss=float("nan")), one.figures)
    assert "No epoch has a finite validation loss: training diverged." in page(broken).text


def test_what_is_no_png_is_refused():
    with pytest.raises(ValueError, match="is not a PNG"):
        write_report(
            [entry()], compare_variants([], []), summary(), figures={"batch_preview": b"GIF89a"}, parameters={}
        )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (report.percent(0.96371), "96.4 %"),
        (report.percent(0.96371, 5511), "96.37 %"),
        (report.percent(None), "–"),
        (report.percent(float("nan")), "–"),
        (report.count(22047.0), "22\u202f047"),
        (report.count(pd.NA), "–"),
        (report.decimals(0.98765), "0.9877"),
        (report.rate(1e-5), "1e-05"),
        (report.duration(59.95), "1 min 00 s"),
        (report.duration(4.23), "4.2 s"),
        (report.duration(200), "3 min 20 s"),
        (report.duration(7500), "2 h 05 min"),
        (report.text(""), "–"),
    ],
)
def test_numbers_read_well(written, expected):
    assert written == expected
