"""The checklist: what is there is shown, what is not is said not to be, and neither is claimed without looking."""

import re

import pytest
from report_material import Page, entry, full_entry, full_html, full_summary, summary

from malaria_kedro.report.checklist import SOURCES, Item, make_checklist


def items(*entries, data=None) -> dict[str, Item]:
    """The checklist by what it asks for."""
    entries = list(entries or (full_entry(),))
    made = make_checklist(entries, data or full_summary())
    return {item.asks: item for item in made}


DISJOINT = "Splits that share no patient"
CALIBRATION = "Calibration"


def test_it_cites_both_guidelines():
    for cited in ("2020;2(2):e200029", "2024;6(4):e240300", "BMJ 2024;385:e078378"):
        assert any(cited in source for source in SOURCES)


def test_every_item_has_a_number_an_answer_and_is_asked_once():
    made = items()
    assert len(made) == len(make_checklist([full_entry()], full_summary()))
    for item in made.values():
        assert item.claim or item.tripod
        assert item.answer.endswith(".")


def test_numbers_are_those_that_the_guidelines_have():
    for item in items().values():
        for number in filter(None, item.claim.split(", ")):
            assert 1 <= int(number) <= 44
        for number in filter(None, item.tripod.split(", ")):
            assert 1 <= int(re.fullmatch(r"(\d+)[a-g]?", number)[1]) <= 27


def test_every_evidence_is_a_section_of_the_page():
    full = Page(full_html())
    anchors = {link["href"].removeprefix("#") for link in full.all("a") if link.get("class") == "done"}
    assert anchors <= set(full.ids())
    assert "calibration" in anchors


def test_disjoint_patients_only_where_none_is_shared():
    assert items()[DISJOINT].anchor == "split"
    shared = items(data=full_summary(shared_patients={"train/valid": 1}))[DISJOINT]
    assert not shared.done
    assert shared.answer.startswith("1 of 6 validation patients")


def test_disjoint_patients_are_not_claimed_where_a_picture_is_on_two_sides():
    equal = {"n_cells": 4, "n_pictures": 2, "n_across_patients": 1}
    apart = full_summary(equal_cells=equal, shared_pictures={"train/valid": 0})
    assert items(data=apart)[DISJOINT].anchor == "split"
    shared = items(data=full_summary(equal_cells=equal, shared_pictures={"train/valid": 1}))[DISJOINT]
    assert not shared.done
    assert "1 picture in two splits" in shared.answer


def test_disjoint_patients_are_not_claimed_where_none_is_known():
    unknown = items(data=full_summary(patients={}, shared_patients={}))[DISJOINT]
    assert not unknown.done
    assert "not known" in unknown.answer


@pytest.mark.parametrize(
    ("asks", "anchor"),
    [
        (CALIBRATION, "calibration"),
        ("Uncertainty of each measure", "metrics"),
        ("Output and choice of threshold", "operating-point"),
        ("Differences between patients", "patients"),
        ("Explanation of calls", "losses"),
        ("Evaluation on internal cells that nothing was chosen on", "metrics"),
    ],
)
def test_what_a_variant_lacks_is_not_done(asks, anchor):
    assert items()[asks].anchor == anchor
    assert not items(entry())[asks].done
    assert not items(full_entry(), entry("older"))[asks].done


def test_cross_validation_is_on_a_page_of_its_own():
    item = items()["Internal validation by cross-validation"]
    assert not item.done
    assert "kedro run --pipelines cross_validation" in item.answer


def test_failures_are_analysed_where_the_worst_calls_were_drawn():
    asks = "Analysis of failures"
    assert items(entry())[asks].anchor == "losses"
    assert not items(entry().model_copy(update={"figures": {}}))[asks].done


def test_what_nobody_did_is_never_done():
    made = items()
    for asks in (
        *("Testing on external data", "Agreement between annotators", "Performance in subgroups of people"),
        *("Registration and protocol", "Robustness to stain, focus and noise"),
    ):
        assert not made[asks].done


def test_phantoms_have_no_people():
    made = items(data=full_summary(phantom=True))
    assert "no people" in made["How the images were made (stain, microscope, camera)"].answer


def test_without_variants_it_still_answers():
    made = make_checklist([], summary())
    assert not next(item for item in made if item.asks == CALIBRATION).done
