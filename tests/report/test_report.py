"""The report: one page, whole in itself, with the real numbers in words."""

import base64
import hashlib
import io
import json
import re
from collections import Counter

import pandas as pd
import pytest
from PIL import Image
from report_material import (
    RUN,
    Page,
    entry,
    folds_html,
    full_entry,
    full_html,
    full_summary,
    history,
    html_of,
    label_audit,
    metrics_of,
    page,
    png,
    predictions,
    summary,
    svg,
)

from malaria_kedro.evaluation.comparison import compare_variants
from malaria_kedro.evaluation.measurements import Measurement
from malaria_kedro.evaluation.metrics import measure
from malaria_kedro.learning.databunch_summary import ListedCells
from malaria_kedro.report import formats
from malaria_kedro.report.findings import summarise
from malaria_kedro.report.inputs import VariantReport, gather_variant
from malaria_kedro.report.model_card import write_model_card
from malaria_kedro.report.report import SECTIONS, write_report

REST = {
    "run": RUN,
    "roc_curves": svg(),
    "batch_preview": png(),
    "parameters": {},
    "baseline": None,
    "listed": ListedCells(),
}


def measured_as(one: VariantReport, measured: Measurement) -> VariantReport:
    """The same variant with other measurements."""
    return one.model_copy(update={"metrics": metrics_of(one.metadata, measured)})


@pytest.fixture(scope="module")
def full() -> Page:
    """The page with everything, of two variants."""
    return Page(full_html())


def test_the_page_loads_nothing(full):
    assert not [tag for tag, _ in full.tags if tag in {"link", "iframe", "object", "embed"}]
    addresses = [value for _, attributes in full.tags for key, value in attributes.items() if key in {"src", "href"}]
    assert addresses
    assert all(re.match("data:image/[a-z+]+;base64,|#", address) for address in addresses)


def test_the_page_forbids_itself_to_load_anything_and_allows_its_one_script(full):
    policy = next(meta["content"] for meta in full.all("meta") if "http-equiv" in meta)
    assert full.all("script") == [{}]
    script = full.html.split("<script>")[1].split("</script>")[0]
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{sha256}'"


def test_the_style_loads_nothing():
    html = write_report([entry()], compare_variants([], []), summary(), **REST)
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_every_figure_is_embedded_with_its_size_and_words(full):
    images = full.all("img")
    assert len(images) == 2 + 2 * 8
    for image in images:
        kind, content = image["src"].removeprefix("data:image/").split(";base64,")
        found = base64.b64decode(content)
        assert found == svg() if kind == "svg+xml" else Image.open(io.BytesIO(found)).size == (100, 50)
        assert (image["width"], image["height"]) == (("192", "96") if kind == "svg+xml" else ("100", "50"))
        assert len(image["alt"]) > 40
        assert any(letter.isdigit() for letter in image["alt"])


def test_alternative_texts_hold_the_numbers():
    by_words = {image["alt"].split(" ")[0]: image["alt"] for image in page().all("img")}
    assert "2 parasitized cells found, 1 missed" in by_words["Confusion"]
    assert all(loss in by_words["Loss"] for loss in ("0.7000", "0.2000", "0.6000", "0.4222"))
    assert "Of 5 cells 2 are" in by_words["The"]


def test_a_figure_of_a_name_unknown_here_is_shown_all_the_same():
    more = entry()
    more.figures["saliency_of_tomorrow"] = png()
    alts = [image["alt"] for image in page(more).all("img")]
    assert "Saliency of tomorrow of resnet18, validation accuracy 60.0\u00a0%." in alts


def test_every_section_has_an_id_and_an_entry_in_the_contents(full):
    ids = Counter(full.ids())
    assert max(ids.values()) == 1
    expected = [*SECTIONS]
    links = [link["href"].removeprefix("#") for link in full.all("a") if "class" not in link]
    assert links == expected
    assert set(expected) <= set(ids)
    sections = [section["id"] for section in full.all("section")]
    assert sections == expected


def test_every_link_and_label_leads_somewhere(full):
    ids = set(full.ids())
    assert {link["href"].removeprefix("#") for link in full.all("a")} <= ids
    assert {attributes["aria-labelledby"] for _, attributes in full.tags if "aria-labelledby" in attributes} <= ids


def test_sections_are_there_even_where_nothing_is_known():
    assert [s["id"] for s in page().all("section")] == [*SECTIONS]


def test_every_tag_is_closed(full):
    assert full.open == []
    assert page().open == []


def test_every_table_scrolls_in_its_own_box(full):
    tags = [(tag, attributes.get("class")) for tag, attributes in full.tags]
    before = [tags[place - 1] for place, (tag, _) in enumerate(tags) if tag == "table"]
    assert set(before) == {("div", "scroll")}


def test_phantoms_are_announced_and_their_scores_disowned():
    data = summary(phantom=True)
    made = page(entry(data=data), data=data)
    assert made.text.count("Phantom cells.") == 1
    assert "(phantom cells)" in made.html.split("</title>")[0]
    assert "phantom cells, not blood" in made.text


def test_real_cells_are_not_called_phantoms(full):
    assert "phantom" not in full.text.lower()


def test_names_are_escaped():
    bad = "<script>alert(1)</script>"
    made = page(entry(bad), data=summary(origin=bad, excluded={bad: 1}))
    assert made.all("script") == [{}]
    assert made.text.count(bad) >= 3


def test_ids_are_shown_as_they_are_and_the_unknown_is_told_from_every_name():
    odd = [
        "001",
        "1e5",
        "1.0",
        "NA",
        "nan",
        "null",
        "None",
        "True",
        "-",
        "–",
        "  x",
        " ",
        "unknown",
        "a\nb",
        '"&<b>',
        "患",
    ]
    audit = pd.concat([label_audit()] * 6, ignore_index=True).head(len(odd) + 1)
    audit = audit.assign(
        audit_rank=audit.index + 1, cell_id=[f"{name}_" for name in [*odd, "last"]], patient_id=[*odd, None]
    )
    one = full_entry()
    patients = [
        patient.model_copy(update={"patient_id": name}) for name, patient in zip(odd, one.patients * 2, strict=False)
    ]
    made = page(one.model_copy(update={"patients": patients}))
    folded = Page(folds_html(audit=audit))
    assert [name in made.words for name in odd] == [True] * len(odd)
    assert [name in folded.words and f"{name}_" in folded.words for name in odd] == [True] * len(odd)
    assert folded.html.count('<span class="unknown">unknown</span>') == 1


def test_without_a_test_part_the_summary_says_what_validation_chose():
    assert "validation cells chose nothing" in page().text
    assert "validation cells also chose the epoch," in page(entry(rule="best_accuracy")).text
    cells = predictions()
    text = page(full_entry(cells=cells[cells["split"] == "valid"])).text
    assert "chose the temperature and the threshold" in text
    assert "split.test_pct" in text


def test_the_data_card_counts_cells_patients_and_exclusions():
    text = page().text
    assert "training 1 200 1 100 2 300 40" in text
    assert "all 1 203 1 102 2 305 50" in text
    assert "7: truncated image" in text
    assert "0123abcd" in text


def test_images_of_the_source_that_did_not_become_cells_are_counted_with_their_reason():
    text = page(data=summary(ignored={"outside the class folders": 1234})).text
    assert "1 234 outside the class folders" in text
    assert "did not become cells" not in page(data=summary(ignored={})).text


def test_shared_patients_are_a_warning():
    made = page(data=summary(shared_patients={"train/valid": 9}))
    assert made.text.count("9 of 10 validation patients") == 4
    assert "Rajaraman et al. 2018" in made.text
    assert "kedro run --env patient" in made.text


NONE_EQUAL = {
    "equal_cells": {"n_cells": 0, "n_pictures": 0, "n_across_patients": 0},
    "shared_pictures": {"train/valid": 0},
}


def test_nothing_is_said_of_pictures_that_were_not_counted():
    assert "picture" not in page().text


def test_equal_cells_on_one_side_are_counted_and_listed():
    data = summary(
        equal_cells={"n_cells": 1234, "n_pictures": 25, "n_across_patients": 2}, shared_pictures={"train/valid": 0}
    )
    equal = [
        {"cell_ids": ["C1_a", "C2_b"], "n_cells": 2, "label": "Parasitized", "patients": ["C1", "C2"]},
        {"cell_ids": ["x_c", "x_d"], "n_cells": 22, "label": "Uninfected", "patients": []},
    ]
    text = page(data=data, listed={"equal": equal}).text
    assert "1 234 cells show only 25 pictures" in text
    assert "the first 2 of 25" in text
    assert "2 Parasitized C1, C2 C1_a, C2_b" in text
    assert "22 Uninfected – x_c, x_d, …" in text


def test_shared_pictures_are_a_warning():
    data = summary(
        equal_cells={"n_cells": 9, "n_pictures": 4, "n_across_patients": 0},
        shared_pictures={"train/valid": 1, "train/test": 3},
    )
    text = page(data=data).text
    assert "3 pictures in two splits, training and test" in text
    assert "0 pictures shared" not in text


def test_cells_under_both_labels_are_told_in_summary_and_split_proof_and_listed():
    reason = "the same picture is labelled both ways"
    cells = [
        {
            "cell_id": "C1_a",
            "label": "Parasitized",
            "patient_id": "C1",
            "excluded": f"{reason}: also x_b as Uninfected",
        },
        {
            "cell_id": "x_b",
            "label": "Uninfected",
            "patient_id": None,
            "excluded": f"{reason}: also C1_a as Parasitized",
        },
    ]
    text = page(
        data=summary(excluded={reason: 2, "unreadable": 1}, **NONE_EQUAL), listed={"excluded": {reason: cells}}
    ).text
    assert text.count(f"2 cells are not used, because {reason}") == 2
    assert f"{reason}: 2 cells" in text
    assert f"C1_a Parasitized C1 {reason}: also x_b as Uninfected" in text
    assert f"x_b Uninfected – {reason}: also C1_a as Parasitized" in text


def test_of_many_excluded_cells_the_first_are_listed_and_all_counted():
    cells = [
        {"cell_id": f"c{n}", "label": "Parasitized", "patient_id": "C1", "excluded": "unreadable: the file is empty"}
        for n in range(20)
    ]
    text = page(data=summary(excluded={"unreadable": 3000}), listed={"excluded": {"unreadable": cells}}).text
    assert "unreadable: the first 20 of 3 000 cells" in text
    assert "c19 Parasitized C1 unreadable: the file is empty" in text


def test_unknown_patients_are_said():
    text = page(data=summary(patients={"train": 0, "valid": 0}, shared_patients={"train/valid": 0})).text
    assert "is not known" in text
    assert "0 of 50 patients shared" not in text


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("last", "the last epoch (select: last)"),
        ("best_valid_loss", "the epoch with the lowest validation loss"),
        (3, "the epoch asked for (select: 3)"),
    ],
)
def test_the_exported_epoch_comes_with_its_reason(rule, why):
    assert f"epoch 3 of stage 1 {why}" in page(entry(rule=rule)).text


def test_an_export_after_the_turn_is_a_warning():
    made = page()
    assert "select: 2 would export the epoch where it turned" in made.text
    assert [cell.get("class") for cell in made.all("span")].count("exported") == 1
    history = [epoch._replace(epoch=4) for epoch in entry().history]
    early = entry().model_copy(update={"onset": None, "history": history})
    assert "select: 2 would" not in page(early).text


def test_cited_rows_are_set_apart():
    made = page()
    assert [row.get("class") for row in made.all("tr")].count("cited") == 3
    assert "resnet34, 10 frozen epochs (cited) random, validation 5 511 96.4 % – – –" in made.text


def test_metrics_come_with_their_intervals(full):
    values = full_entry().metrics.splits["valid"]
    low, high = values.intervals["roc_auc"]
    assert f"{values.roc_auc:.4f} ({low:.4f} to {high:.4f})" in full.text
    assert "50 draws of whole patients" in full.text


def test_undefined_metrics_are_dashes_with_a_note():
    one = entry()
    only = pd.DataFrame({"split": "valid", "label": "Uninfected", "p_parasitized": [0.1], "loss": [0.1]})
    text = page(measured_as(one, measure(only, threshold=0.5))).text
    assert "Sensitivity parasitized cells found –" in text
    assert "valid: roc_auc is undefined" in text


def test_a_classifier_without_calibration_says_so():
    text = page().text
    assert "kedro run --nodes resnet18.export_classifier" in text
    assert "stores no threshold" in text
    assert "Nothing can be said about single patients" in text


def test_a_threshold_that_could_not_be_chosen_is_said():
    one = full_entry()
    found = one.metrics.calibration.model_copy(update={"threshold": None, "notes": ["no threshold."]})
    text = page(one.model_copy(update={"metrics": one.metrics.model_copy(update={"calibration": found})})).text
    assert "no threshold could be chosen" in text
    assert "At the stored threshold" not in text


def test_patients_have_a_row_each_and_a_long_table_is_folded(full):
    assert "test C9 10 0" in full.text
    many = full_entry()
    more = [patient.model_copy(update={"patient_id": f"D{number}"}) for number, patient in enumerate(many.patients)]
    assert "All 24 rows" in page(many.model_copy(update={"patients": many.patients + more})).text
    assert "All 12 rows" not in full.text


def test_a_constant_prediction_on_cells_of_unknown_patients_is_reported():
    cells = pd.DataFrame(
        {
            "split": "valid",
            "label": ["Parasitized", "Uninfected"],
            "p_parasitized": 0.5,
            "loss": 0.693,
            "patient_id": None,
        }
    )
    one = entry()
    data = summary(n_patients=0, patients={}, shared_patients={})
    text = page(measured_as(one, measure(cells, threshold=0.5)), data=data).text
    assert "mcc is undefined, because every cell was called parasitized" in text


BAD = {
    "one class": lambda cells: cells.assign(label="Uninfected"),
    "the other class": lambda cells: cells.assign(label="Parasitized"),
    "no parasitized cell in a split": lambda cells: cells[
        (cells["split"] == "test") | (cells["label"] == "Uninfected")
    ],
    "one patient": lambda cells: cells.assign(patient_id="C1"),
    "no known patient": lambda cells: cells.assign(patient_id=None),
    "a constant prediction": lambda cells: cells.assign(p_parasitized=0.5, loss=0.6931),
    "a certain prediction": lambda cells: cells.assign(
        p_parasitized=(cells["label"] == "Parasitized").astype(float), loss=0.0
    ),
    "three cells": lambda cells: cells[cells["split"] == "valid"].head(3),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_said_and_no_crash_and_no_nan(what):
    one = full_entry(cells=BAD[what](predictions()).reset_index(drop=True))
    text = page(one, data=full_summary(), colour=one.metrics).text
    model_card = write_model_card(one.metadata, one.metrics)
    for written in (text, model_card):
        assert not re.search(r"\b(nan|None(?! of)|Undefined)\b", written)
    for note in one.metrics.notes:
        assert note in text


def test_of_a_class_that_is_not_there_the_summary_tells_nothing():
    one = full_entry(cells=predictions().assign(label="Uninfected"))
    assert "no parasitized cell to find" in page(one, data=full_summary()).text


def test_a_section_read_back_from_json_gives_the_same_page():
    one = full_entry()
    again = VariantReport.model_validate_json(one.model_dump_json(exclude_unset=True))
    assert html_of(again, data=full_summary()) == html_of(one, data=full_summary())


def test_a_comparison_read_back_from_csv_gives_the_same_page(tmp_path):
    one = entry()
    table = compare_variants([one.metadata], [one.metrics])
    table.to_csv(tmp_path / "table.csv", index=False)
    pages = {
        write_report([one], comparison, summary(), **REST)
        for comparison in (table, pd.read_csv(tmp_path / "table.csv"))
    }
    assert len(pages) == 1


def test_a_diverged_training_is_reported():
    one = entry()
    for loss in (float("nan"), float("inf")):
        broken = gather_variant(one.metadata, one.metrics, history().assign(valid_loss=loss), one.figures)
        again = VariantReport.model_validate_json(broken.model_dump_json(exclude_unset=True))
        assert "training diverged" in page(again).text


def test_what_is_no_png_is_refused():
    with pytest.raises(ValueError, match="neither a PNG nor an SVG"):
        write_report([entry()], compare_variants([], []), summary(), **REST | {"batch_preview": b"GIF89a"})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.percent(0.96371), "96.4\u00a0%"),
        (formats.percent(0.96371, 5511), "96.37\u00a0%"),
        (formats.percent(None), "–"),
        (formats.percent(float("nan")), "–"),
        (formats.count(22047.0), "22\u202f047"),
        (formats.count(pd.NA), "–"),
        (formats.decimals(0.98765), "0.9877"),
        (formats.rate(1e-5), "1e-05"),
        (formats.probability(0.25), "0.2500"),
        (formats.probability(0.0000123), "1.2e-05"),
        (formats.probability(0.99997), "1 − 3e-05"),
        (formats.probability(1), "1.0000"),
        (formats.duration(59.95), "1 min 00 s"),
        (formats.duration(4.23), "4.2 s"),
        (formats.duration(200), "3 min 20 s"),
        (formats.duration(7500), "2 h 05 min"),
        (formats.milliseconds(0.123), "0.12 ms"),
        (formats.milliseconds(12.3), "12.3 ms"),
        (formats.megabytes(46_900_000), "46.9 MB"),
        (formats.place("https://example.org/cells/cell_images.zip"), "cell_images.zip"),
        (formats.place("cells/mine"), "cells/mine"),
        (formats.text(""), "–"),
        (formats.markdown("a|b\n<i>"), "a\\|b \\<i\\>"),
    ],
)
def test_numbers_read_well(written, expected):
    assert written == expected


def test_the_page_says_which_run_wrote_it_with_what():
    text = page(full_entry(), data=full_summary()).text
    for value in (RUN.written, RUN.run, "commit abc1234", "Classifier resnet18 2026-11-26T09.00.00.000Z"):
        assert value in text
    without = write_report(
        [entry()], compare_variants([], []), summary(), **REST | {"run": RUN.model_copy(update={"commit": None})}
    )
    assert "commit not known" in without


def test_variants_stand_side_by_side(full):
    table = full.html.split('aria-label="Metrics of the variants"')[1].split("</thead>")[0]
    assert re.findall(r">(\S[^<]*) <small>(\w+)<", table) == [
        (name, split) for name in ("resnet34", "resnet18", "colour alone") for split in ("validation", "test")
    ]


def test_the_slider_has_the_calls_at_every_threshold(full):
    rows = [attributes for attributes in full.all("tr") if "data-calls" in attributes]
    assert len(rows) == 2
    sweep = full_entry().sweep
    assert json.loads(rows[0]["data-calls"]) == [list(calls) for calls in sweep.calls]
    assert json.loads(rows[0]["data-cells"]) == [sweep.n_parasitized, sweep.n_uninfected]


def test_what_tables_hold_is_on_the_data_card():
    told = {"rows in labels.csv": 1200, "rows in labels.csv without an image": 3}
    assert "rows in labels.csv: 1 200" in page(data=summary(tables=told)).text.replace("\u202f", " ")
    assert "labels.csv" not in page(data=summary()).text


def test_a_variant_that_is_not_trained_is_named_among_the_findings():
    found = summarise([entry()], summary(), None, ["resnet34"])["Found"]
    assert found[:-1] == summarise([entry()], summary(), None)["Found"]
    assert "resnet34" in found[-1]
