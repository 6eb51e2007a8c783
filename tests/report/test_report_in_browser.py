"""The report in headless Chromium: nothing fails, every picture is there, nothing sticks out, on desk or phone."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from report_material import Page, entry, full_entry, full_html, html_of

from malaria_kedro.names import natural_order
from malaria_kedro.report.report import SECTIONS

BROWSER = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH (apt-get install chromium)")

LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--force-dark-mode"
# A window is never narrower than 500 px, so the page is looked at in a frame. What the frame holds is the page itself,
# untouched, with its own policy; the script that looks is the frame's neighbour.
LOOK = """
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const images = [...page.querySelectorAll("img:not(dialog *)")].map(
    i => ({alt: i.alt, loaded: i.complete && i.naturalWidth > 0, shown: i.clientWidth}));
  const sections = [...page.querySelectorAll("section")].map(s => ({id: s.id, height: s.clientHeight}));
  page.querySelectorAll("details").forEach(d => { d.open = true; });
  const cut = [...page.querySelectorAll(".scroll")].filter(s => s.scrollWidth > s.clientWidth).map(s => s.ariaLabel);
  const slider = page.querySelector(".slider"), input = page.querySelector(".slider input"), calls = [];
  if (input) for (const value of [0, input.max]) {
    input.value = value;
    input.dispatchEvent(new Event("input"));
    calls.push(slider.querySelector("output").value, slider.querySelector("tbody tr").cells[1].textContent);
  }
  const patients = page.querySelector("#patients table.data"), sorted = [], shares = [];
  if (patients) for (const head of [1, 2, 1, 1]) {
    patients.tHead.rows[0].cells[head].querySelector("button")?.click();
    sorted.push([...patients.tBodies[0].rows].map(row => row.cells[1].textContent).join(" "));
  }
  if (patients) {
    patients.tHead.rows[0].cells[4].querySelector("button")?.click();
    shares.push(...[...patients.tBodies[0].rows].map(row => row.cells[4].textContent));
  }
  const figure = page.querySelector("figure img"), dialog = page.querySelector("dialog");
  const enlarged = [];
  if (dialog) {
    figure.click();
    const large = dialog.querySelector("img");
    enlarged.push(dialog.open, large?.alt === figure.alt, large?.clientWidth);
    dialog.click();
    enlarged.push(dialog.open);
  }
  const dangling = [...page.querySelectorAll("a")].filter(a => !page.getElementById(a.hash.slice(1))).map(a => a.href);
  const style = getComputedStyle(page.body);
  const found = {images, sections, dangling, cut, calls, sorted, shares, enlarged,
    hidden: slider?.hidden, background: style.backgroundColor, colour: style.color,
    width: root.clientWidth, scroll: root.scrollWidth};
  document.querySelector("pre").textContent = JSON.stringify(found);
});
"""


@dataclass(frozen=True)
class Seen:
    """What the page says of itself, and what the browser complained of."""

    found: dict
    complaints: list[str]


def look(page_html: str, folder: Path, *, width: int, scheme: str = LIGHT) -> Seen:
    frame = folder / f"frame_{width}_{scheme.strip('-')[:5]}.html"
    frame.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><iframe style="width:{width}px;height:900px;border:0" '
        f'srcdoc="{html.escape(page_html)}"></iframe><pre></pre><script>{LOOK}</script>',
        encoding="utf-8",
    )
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", scheme]
    command += [f"--window-size={width + 40},1000", "--enable-logging=stderr", "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    written = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert written, f"the page was not looked at: {done.stderr[-2000:]}"
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(json.loads(html.unescape(written[1])), complaints)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the browser keeps its things."""
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def made() -> str:
    """The page with everything, of two variants."""
    return full_html()


@pytest.fixture(scope="module")
def desk(made, folder) -> Seen:
    """The page on a desk, light."""
    return look(made, folder, width=1280)


@pytest.fixture(scope="module")
def phone(made, folder) -> Seen:
    """The page on a phone, dark."""
    return look(made, folder, width=390, scheme=DARK)


def test_the_console_stays_empty(desk, phone):
    assert desk.complaints == []
    assert phone.complaints == []


def test_every_picture_is_loaded_and_shown(desk, phone, made):
    for seen in (desk, phone):
        assert len(seen.found["images"]) == len(Page(made).all("img"))
        assert [image["alt"] for image in seen.found["images"] if not (image["loaded"] and image["shown"])] == []


def test_every_section_is_there_and_not_empty(desk):
    heights = {section["id"]: section["height"] for section in desk.found["sections"]}
    assert list(heights) == [*SECTIONS]
    assert min(heights.values()) > 50


def test_every_link_finds_its_place(desk):
    assert desk.found["dangling"] == []


@pytest.mark.parametrize("where", ["desk", "phone"])
def test_nothing_sticks_out_to_the_side(where, request):
    found = request.getfixturevalue(where).found
    assert found["width"] <= {"desk": 1280, "phone": 390}[where]
    assert found["scroll"] <= found["width"]


def test_it_is_dark_where_the_reader_wants_it_dark(desk, phone):
    assert (desk.found["background"], phone.found["background"]) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)")
    assert desk.found["colour"] != phone.found["colour"]


def test_a_page_that_knows_little_is_whole_too(folder):
    long_name = "a_variant_with_a_name_that_is_far_too_long_for_any_telephone_in_the_world_and_has_no_space"
    seen = look(html_of(entry(long_name)), folder, width=390)
    assert seen.complaints == []
    assert all(image["loaded"] for image in seen.found["images"])
    assert seen.found["scroll"] <= 390


def test_the_look_notices_what_is_wrong(folder):
    bad = (
        '<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:">'
        '<section id="one"></section><a href="#two">x</a><img src="https://example.invalid/cell.png" alt="a cell">'
        '<table width="700"><tr><td>wide</td></tr></table>'
    )
    seen = look(bad, folder, width=390)
    assert "violates" in "".join(seen.complaints)
    assert [image["loaded"] for image in seen.found["images"]] == [False]
    assert len(seen.found["dangling"]) == 1
    assert seen.found["scroll"] > 390


def test_no_table_is_cut_off_on_a_desk(desk):
    assert desk.found["cut"] == []


def test_the_slider_moves_through_all_thresholds(desk, phone):
    parasitized = full_entry("resnet34").sweep.n_parasitized
    for seen in (desk, phone):
        assert seen.found["hidden"] is False
        assert seen.found["calls"] == [
            "0.001",
            f"100.0\u00a0% ({parasitized} / {parasitized})",
            "0.999",
            f"0.0\u00a0% (0 / {parasitized})",
        ]


def test_a_click_on_a_title_sorts_and_another_one_turns_the_order(desk):
    by_name, by_cells, again, backwards = (names.split() for names in desk.found["sorted"])
    assert by_name == sorted(by_name, key=natural_order) == again
    assert sorted(by_cells) == sorted(by_name)
    assert backwards == by_name[::-1]


def test_a_french_page_sorts_and_slides_with_decimal_commas(folder):
    seen = look(full_html("fr"), folder, width=1280)
    assert seen.complaints == []
    assert [text for text in seen.found["calls"] if "." in text] == []
    assert seen.found["calls"][0] == "0,001"
    assert list(dict.fromkeys(seen.found["shares"])) == ["0,0\xa0%", "40,0\xa0%", "100,0\xa0%"]


def test_a_figure_opens_large_on_a_phone(phone):
    opened, same, width, still = phone.found["enlarged"]
    assert (opened, same, still) == (True, True, False)
    assert width > 900


def test_without_scripts_every_number_is_there(made, folder):
    silent = re.sub("script-src '[^']*'", "script-src 'none'", made)
    seen = look(silent, folder, width=1280)
    assert seen.found["hidden"] is True
    assert "Calls at other thresholds" in silent
    assert seen.found["enlarged"][0] is False
