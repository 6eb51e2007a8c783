"""Numbers in a figure, and on its axes, as its language writes them."""

from __future__ import annotations

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, ScalarFormatter

from malaria_kedro.language import Language, current_language, localize, written_in


def number(value: float, spec: str = ",") -> str:
    """Write a number as Python's format does, with the signs for decimals and thousands of the current language."""
    return localize(f"{value:{spec}}")


def percent(share: float, decimals: int = 0) -> str:
    """Write a share (0-1) as a percentage with so many decimals."""
    return localize(f"{100 * share:,.{decimals}f} %")


def short_percent(share: float) -> str:
    """Write a share (0-1) as a percentage of two digits: 0.0216 is ``2.2 %``."""
    return localize(f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %")


def number_ticks(spec: str, *, lowest: float = float("-inf")) -> FuncFormatter:
    """Write ticks as ``number`` does; those below ``lowest`` have no number."""
    language = current_language()  # a figure is drawn later, when no language is set
    return FuncFormatter(lambda value, _at: _translate(f"{value:{spec}}", language) if value >= lowest else "")


def percent_ticks(decimals: int = 0) -> FuncFormatter:
    """Write ticks from 0 to 1 as percentages."""
    language = current_language()
    return FuncFormatter(lambda value, _at: _translate(f"{100 * value:.{decimals}f} %", language))


def write_ticks(axis: Axis) -> None:
    """Give an axis whose ticks are plain numbers the signs of the current language."""
    language = current_language()
    if language != "en" and type(axis.get_major_formatter()) is ScalarFormatter:
        axis.set_major_formatter(_Plain(language))


class _Plain(ScalarFormatter):
    """Matplotlib's own choice of digits, with the signs of a language."""

    def __init__(self, language: Language) -> None:
        super().__init__()
        self.language = language

    def __call__(self, x: float, pos: int | None = None) -> str:
        return _translate(super().__call__(x, pos), self.language)


def _translate(text: str, language: Language) -> str:
    """Write a tick in the language that its figure was made in, whichever is current when it is drawn."""
    with written_in(language):
        return localize(text)
