"""Whatever a variant, a cell or a patient is called, every figure is drawn and shows the name as it is."""

import functools
import gettext
import importlib
import pkgutil
import re
import warnings
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

import malaria_kedro.figures
from malaria_kedro.evaluation.bootstrap import Bootstrap
from malaria_kedro.evaluation.fold_metrics import measure_folds
from malaria_kedro.evaluation.label_noise import audit_labels
from malaria_kedro.evaluation.metrics import measure
from malaria_kedro.evaluation.new_cells import count_probabilities
from malaria_kedro.evaluation.patients import patient_table
from malaria_kedro.evaluation.thresholds import sweep_thresholds
from malaria_kedro.figures import (
    cells,
    confusion_matrix,
    curves,
    folds,
    heat_maps,
    label_audit,
    new_cells,
    patients,
    training,
)
from malaria_kedro.figures.style import STYLES, Look
from malaria_kedro.inference.results import patient_summary
from malaria_kedro.language import Language, written_in
from malaria_kedro.learning.calibration import calibrate
from malaria_kedro.parameters import StyleName

# Mathematics that matplotlib refuses, some that it would set, characters that are special to it or that its font
# lacks, spaces alone, and a name that fits nowhere.
HOSTILE = ["$x^{", "_a$b$c$\\alpha$\\_1 100 %\n\t<b>患者😀\u202e", "  ", "n" * 200]


@functools.cache
def drawn(name: str, style: StyleName = "screen", language: Language = "en") -> dict[str, Figure]:
    """Draw every figure in a language, see ``draw_all``."""
    with written_in(language):
        return draw_all(name, style)


def draw_all(name: str, style: StyleName) -> dict[str, Figure]:
    """Draw every figure of cells, patients and a variant of this name, by the name of its function."""
    n = 24
    predictions = pd.DataFrame(
        {
            "cell_id": [f"{name}{number}" for number in range(n)],
            "patient_id": [f"{name}{number % 4}" for number in range(n)],
            "split": ["valid"] * (n // 2) + ["test"] * (n // 2),
            # Two of the four patients are healthy, so that their names stand on an axis.
            "label": ["Uninfected" if number % 4 < 2 else "Parasitized" for number in range(n)],
            "p_parasitized": np.linspace(0.05, 0.95, n),
            "loss": np.linspace(0.1, 2, n),
        }
    ).assign(p_calibrated=lambda table: table["p_parasitized"])
    pixels = np.zeros((n, 8, 8, 3), dtype=np.uint8)
    bunch = SimpleNamespace(pixels=pixels, cells=predictions[["cell_id"]])
    metrics = measure(predictions, threshold=0.5)
    batches = pd.DataFrame(
        {"stage": name, "epoch": 1, "batch": [1, 2], "train_loss": 0.5, "smooth_loss": [0.5, 0.4], "lr": 1e-3}
    )
    history = pd.DataFrame({"stage": [name], "epoch": [1], "valid_loss": [0.4]})
    folded = pd.concat([predictions.assign(strategy=name, seed=1, fold=fold) for fold in (1, 2)])
    measured = measure_folds(folded, threshold=0.5, intervals=Bootstrap(20, 1))
    curve = np.geomspace(1e-5, 1, 9), np.linspace(2, 1, 9), {name: 1e-3}
    look = Look(style, f"{name}: title", phantom=True)
    first = predictions.head(4)
    at, maps = {"threshold": 0.5}, np.zeros((4, 8, 8), dtype=np.float32)
    read = predictions.assign(call=np.where(predictions["p_parasitized"] >= 0.5, "Parasitized", "Uninfected"))
    calibration = calibrate(predictions[predictions["split"] == "valid"], target_sensitivity=0.9)
    return {
        "draw_confusion_matrix": confusion_matrix.draw_confusion_matrix(predictions, look, **at),
        "draw_loss_curves": training.draw_loss_curves(batches, history, look),
        "draw_top_losses": cells.draw_top_losses(predictions, bunch, look, count=4, **at),
        "draw_batch_preview": cells.draw_batch_preview(pixels[:2], [name, "Parasitized"], look),
        "draw_curve: ROC": curves.draw_curve(curves.ROC, predictions, metrics, look),
        "draw_curve: precision": curves.draw_curve(curves.PRECISION_RECALL, predictions, metrics, look),
        "draw_roc_curves": curves.draw_roc_curves(
            {name: sweep_thresholds(predictions, "test")}, {name: metrics}, {}, look
        ),
        "draw_reliability_diagram": curves.draw_reliability_diagram(predictions, look, calibration),
        "draw_new_cells: patients": new_cells.draw_new_cells(
            patient_summary([read]), count_probabilities([read], 0.5), look, trained_on_phantoms=True
        ),
        "draw_new_cells: probabilities": new_cells.draw_new_cells(
            patient_summary([read.assign(patient_id=None)]),
            count_probabilities([read], 0.5),
            look,
            trained_on_phantoms=True,
        ),
        "draw_patients": patients.draw_patients(patient_table(predictions, **at), look),
        "draw_label_audit": label_audit.draw_label_audit(audit_labels(predictions), bunch, look, count=4),
        "draw_heat_maps": heat_maps.draw_heat_maps(first, pixels[:4], maps, look, **at),
        "draw_folds": folds.draw_folds(measured.protocols, look),
        "draw_learning_rate_curve": training.draw_learning_rate_curve(*curve, look),
    }


def shown(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if text.get_text()]


def draw(figure: Figure) -> None:
    with warnings.catch_warnings():
        # A sign that the font lacks is an empty box, and a name of 200 letters leaves an axis little room.
        warnings.filterwarnings("ignore", "Glyph .* missing|Tight layout|constrained_layout|.*sizes collapsed")
        figure.draw_without_rendering()


def test_no_figure_function_is_missing_here():
    modules = [
        importlib.import_module(f"malaria_kedro.figures.{module.name}")
        for module in pkgutil.iter_modules(malaria_kedro.figures.__path__)
    ]
    there_are = {name for module in modules for name in vars(module) if name.startswith("draw_")}
    assert {function.partition(":")[0] for function in drawn("resnet18")} == there_are


@pytest.mark.parametrize("name", HOSTILE)
def test_every_figure_shows_a_name_as_it_is(name):
    for function, figure in drawn(name).items():
        draw(figure)
        with_name = [text for text in shown(figure) if name in text.get_text()]
        assert with_name, function
        assert [text.get_text() for text in with_name if text.get_parse_math() or text.get_usetex()] == [], function


def test_patients_are_named_on_their_axis():
    healthy = drawn("$x^{")["draw_patients"].axes[1]
    draw(healthy.figure)
    labels = healthy.get_xticklabels()
    assert [label.get_text() for label in labels] == ["$x^{0", "$x^{1"]
    assert not any(label.get_parse_math() for label in labels)


def test_a_figure_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    drawn("$")
    assert dict(matplotlib.rcParams) == before


def test_print_is_the_same_figure_smaller_and_finer():
    on_screen, in_print = drawn("resnet18"), drawn("resnet18", "print")
    for function, figure in on_screen.items():
        printed = in_print[function]
        assert printed.get_size_inches() == pytest.approx(0.8 * figure.get_size_inches()), function
        assert (figure.dpi in (100, 200), printed.dpi) == (True, 300), function
        draw(figure)
        draw(printed)
        sizes = [sorted({text.get_fontsize() for text in shown(of)}) for of in (figure, printed)]
        assert sizes[1] == pytest.approx([0.8 * size for size in sizes[0]]), function


class Strange(gettext.NullTranslations):
    """A language in which every text is longer, by doubled vowels, and can be told from English by its brackets."""

    def gettext(self, message: str) -> str:
        longer = re.sub(r"(\{\w*\})|([aeiou])", lambda found: found[1] or 2 * found[2], message)
        return f"⟦{longer}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return self.gettext(msgid1 if n == 1 else msgid2)


@pytest.fixture(scope="module")
def strange() -> dict[str, Figure]:
    """Every figure as it is in that language, with the numbers of French."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("malaria_kedro.language._translations", lambda _language: Strange())
        return drawn("resnet18", language="fr")


def test_every_text_of_a_figure_is_translated_with_its_numbers(strange):
    for function, figure in strange.items():
        draw(figure)
        for text in shown(figure):
            said = text.get_text()
            while said != (said := re.sub("⟦[^⟦⟧]*⟧", "", said)):
                pass
            assert (
                re.sub(r"resnet18|title|[0-9]e[-+−][0-9]", "", said).strip(" 0123456789/.,:;()±–−-%→\n\xa0\u202f") == ""
            ), function
            assert not re.search(r"\d\.\d", text.get_text()), function


@pytest.mark.filterwarnings("error")
def test_a_longer_language_is_not_cut_off_either(strange):
    for function, figure in strange.items():
        figure.draw_without_rendering()
        box, size = figure.get_tightbbox(), figure.get_size_inches()  # inches
        assert np.all(box.min >= -0.01), (function, box)
        assert np.all(box.max <= size + 0.01), (function, box, size)


@pytest.mark.parametrize("style", STYLES)
def test_nothing_of_a_figure_is_cut_off(style):
    for function, figure in drawn("resnet18", style).items():
        draw(figure)
        box, size = figure.get_tightbbox(), figure.get_size_inches()  # inches
        assert np.all(box.min >= -0.01), (function, box)
        assert np.all(box.max <= size + 0.01), (function, box)
