"""Numbers in figures are written as their language writes them, on axes that are drawn later, too."""

import pytest
from matplotlib.figure import Figure

from malaria_kedro.figures.numbers import number, number_ticks, percent, percent_ticks, short_percent, write_ticks
from malaria_kedro.language import written_in


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ["1,234,567", "0.25", "12.5 %", "2.2 %", "-3.1e-05"]),
        ("es", ["1.234.567", "0,25", "12,5\u00a0%", "2,2\u00a0%", "-3,1e-05"]),
        ("fr", ["1\u202f234\u202f567", "0,25", "12,5\u00a0%", "2,2\u00a0%", "-3,1e-05"]),
        ("pt", ["1.234.567", "0,25", "12,5%", "2,2%", "-3,1e-05"]),
    ],
)
def test_numbers_are_those_of_the_language(language, said):
    with written_in(language):
        found = [number(1234567), number(0.25, "g"), percent(0.125, 1), short_percent(0.0216), number(-3.1e-5, ".1e")]
    assert found == said


def test_a_share_of_two_digits_keeps_no_more():
    assert [short_percent(share) for share in (0.0216, 0.099, 0.0996, 0.5, 1)] == [
        "2.2 %",
        "9.9 %",
        "10 %",
        "50 %",
        "100 %",
    ]


def test_ticks_are_in_the_language_in_which_they_were_made():
    with written_in("fr"):
        ticks = [percent_ticks(1), number_ticks(",.0f", lowest=1), number_ticks("g")]
    assert [written(0.125, 0) for written in ticks] == ["12,5\u00a0%", "", "0,125"]
    assert ticks[1](1234, 0) == "1\u202f234"


def test_an_axis_without_a_format_of_its_own_gets_the_signs():
    axes = Figure().subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.yaxis.set_major_formatter(lambda value, _at: f"{value:.2f}")
    with written_in("es"):
        write_ticks(axes.xaxis)
        write_ticks(axes.yaxis)
    axes.figure.draw_without_rendering()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0,0", "0,2", "0,4", "0,6", "0,8", "1,0"]
    assert axes.get_yticklabels()[1].get_text() == "0.20"
