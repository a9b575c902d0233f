"""The page in a real Chromium: it complains of nothing, sorts, plays, and follows its reader."""

import itertools
import time
from collections.abc import Iterator

import pytest

from tests.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH")
COLUMN = """(() => {
  const table = document.querySelector("table.sortable");
  return [...table.tBodies[0].rows].map((row) => Number(row.cells[1].dataset.value));
})()"""
SORTED = """document.querySelectorAll("table.sortable th")[1].getAttribute("aria-sort")"""
TIMES = "[...document.querySelectorAll('video')].map((video) => video.currentTime)"


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(running, page) -> Browser:
    """The browser with the page freshly opened by a reader without wishes."""
    running.complaints.clear()
    running.requests.clear()
    running.resize(1200, 900)
    running.prefer(color_scheme="light", reduced_motion="no-preference")
    running.open(page)
    return running


def wait_until(browser: Browser, condition: str) -> None:
    """Poll a JavaScript condition for some seconds."""
    end = time.monotonic() + 20
    while not browser.run(condition):
        assert time.monotonic() < end, f"never true: {condition}"
        time.sleep(0.05)


def test_nothing_is_complained_of_and_nothing_is_loaded(browser, page):
    wait_until(browser, "document.readyState === 'complete'")
    assert browser.complaints == []
    asked = {url for url in browser.requests if not url.startswith("data:")}
    assert asked == {page.as_uri()}


def test_videos_play_by_themselves_and_stop_at_a_press(browser):
    count = browser.run("document.querySelectorAll('video').length")
    assert count == 3
    wait_until(browser, f"{TIMES}.every((time) => time > 0)")
    sizes = browser.run("[...document.querySelectorAll('video')].map((v) => v.videoWidth)")
    assert min(sizes) > 300, "a video was not decoded"
    browser.run("document.getElementById('playing').click()")
    wait_until(browser, "[...document.querySelectorAll('video')].every((video) => video.paused)")
    before = browser.run(TIMES)
    time.sleep(0.3)
    assert browser.run(TIMES) == before
    assert browser.run("document.getElementById('playing').textContent") == "Play all"


def test_each_clip_has_a_button_and_nothing_covers_its_panels(browser):
    assert not browser.run("[...document.querySelectorAll('video')].some((one) => one.controls)")
    wait_until(browser, f"{TIMES}.every((time) => time > 0)")
    paused = "[...document.querySelectorAll('video')].map((video) => video.paused)"
    browser.run("document.querySelector('.play').click()")
    wait_until(browser, "document.querySelector('.play').textContent === 'Play'")
    assert browser.run(paused) == [True, False, False]
    name = browser.run("document.querySelector('.play').ariaLabel")
    assert name.startswith("Play best example, ")
    browser.run("document.querySelector('.play').click()")
    wait_until(browser, "document.querySelector('.play').textContent === 'Pause'")
    assert browser.run(paused) == [False] * 3


SCROLLERS = """(() => {
  const boxes = [...document.querySelectorAll(".scroll, .drawing, pre")];
  const wide = boxes.filter((box) => box.scrollWidth > box.clientWidth + 1);
  return [wide.length, boxes.filter((box) => box.tabIndex === 0).length,
    document.querySelectorAll(".wide-hint").length,
    boxes.filter((box) => box.scrollWidth === box.clientWidth + 1).length];
})()"""


@pytest.mark.parametrize("width", [360, 1200])
def test_what_scrolls_is_reached_by_keyboard_and_says_so(browser, page, width):
    browser.resize(width, 800)
    browser.open(page)
    wide, reached, hints, bars_for_a_pixel = browser.run(SCROLLERS)
    assert not bars_for_a_pixel
    assert reached == wide and (wide > 3) == (width == 360)
    assert (width == 360) <= hints <= wide


def test_who_asks_for_less_motion_gets_none(browser, page):
    browser.prefer(reduced_motion="reduce")
    browser.open(page)
    time.sleep(0.5)
    assert browser.run(TIMES) == [0, 0, 0]
    browser.run("document.getElementById('playing').click()")
    wait_until(browser, f"{TIMES}.every((time) => time > 0)")


def test_a_click_puts_the_best_on_top_and_the_next_turns_the_order(browser):
    click = """document.querySelectorAll("table.sortable button")[1].click()"""
    browser.run(click)  # CRPS: less is better
    assert browser.run(SORTED) == "ascending"
    values = browser.run(COLUMN)
    assert len(values) > 3 and values == sorted(values)
    browser.run(click)
    assert browser.run(SORTED) == "descending"
    assert browser.run(COLUMN) == sorted(values, reverse=True)
    floor = browser.run("document.querySelector('.reference tr:last-child th').textContent")
    assert "real" in floor, "ceiling and floor keep their place"


def test_the_keyboard_reaches_the_headings_and_sorts(browser):
    headings = []
    for _ in range(40):
        browser.press("Tab", 9)
        headings.append(browser.run("document.activeElement.textContent.trim()"))
        if headings[-1].startswith("CRPS"):
            break
    assert headings[0] == "Skip to the results", "the first stop leads past the navigation"
    assert headings[-1].startswith("CRPS"), headings
    browser.press("Enter", 13)
    values = browser.run(COLUMN)
    assert browser.run(SORTED) == "ascending" and values == sorted(values)
    outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "who uses the keyboard sees where they are"


CONTRASTS = """(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (colour) => parse(colour)
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = getComputedStyle(document.body).backgroundColor;
  const ratio = (colour) => {
    const [a, b] = [light(colour), light(paper)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const found = {paper: light(paper), ratios: {}};
  const texts = "p, th, td .value, .interval, .notes, caption, figcaption, svg text, .verdict, a";
  for (const item of document.querySelectorAll(texts)) {
    const style = getComputedStyle(item);
    const colour = item.closest("svg") ? style.fill : style.color;
    if (colour === "none" || item.closest(".clip-player")) continue;
    found.ratios[colour] = [ratio(colour), item.textContent.trim().slice(0, 30)];
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_plots_read_in_light_and_dark(browser, page, scheme):
    browser.prefer(color_scheme=scheme)
    browser.open(page)
    found = browser.run(CONTRASTS)
    assert (found["paper"] < 0.1) == (scheme == "dark")
    assert len(found["ratios"]) >= 4
    for colour, (ratio, text) in found["ratios"].items():
        assert ratio >= 4.5, f"{colour} ({text}): WCAG 2.2, 1.4.3 wants 4.5"


@pytest.mark.parametrize("width", [360, 700, 1200])
def test_the_page_is_never_wider_than_its_window(browser, page, width):
    browser.resize(width, 800)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_controls_tables_and_pictures_have_names(browser):
    unnamed = browser.run("""[...document.querySelectorAll("video, img, svg, button, select, nav")]
      .filter((item) => !(item.ariaLabel || item.getAttribute("alt") || item.textContent.trim()
        || item.labels?.length)).map((item) => item.outerHTML.slice(0, 80))""")
    assert unnamed == []
    assert browser.run("[...document.querySelectorAll('table')].every((t) => t.querySelector("
                       "'th[scope=col]'))")  # fmt: skip
    order = browser.run("[...document.querySelectorAll('h1, h2, h3')].map((h) => +h.tagName[1])")
    assert order[0] == 1 and order.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(order))


def test_print_shows_stills_instead_of_clips(browser):
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.prefer(media="print", color_scheme="dark")
    shown = "[...document.querySelectorAll('{}')].map((item) => item.offsetHeight > 0)"
    assert browser.run(shown.format(".stills img")) == [True] * 3
    assert browser.run(shown.format(".clip-player")) == [False] * 3
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.pdf().startswith(b"%PDF")


def test_print_folds_again_what_it_has_opened(browser):
    opened = "[...document.querySelectorAll('details')].map((item) => item.open)"
    before = browser.run(opened)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert not all(before) and all(browser.run(opened))
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(opened) == before


WIDE = """[...document.querySelectorAll("table")]
  .filter((table) => table.offsetWidth > table.parentElement.clientWidth)
  .map((table) => `${table.offsetWidth} of ${table.parentElement.clientWidth} px: `
    + table.textContent.trim().slice(0, 60))"""


def test_tables_fit_the_paper(browser):
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.resize(718, 1000)  # A4 without its margins
    browser.prefer(media="print")
    assert browser.run("document.querySelectorAll('#comparisons thead th').length") == 9
    assert browser.run(WIDE) == []
    assert browser.run("document.documentElement.scrollWidth") <= 718
    sizes = browser.run("""["verdict", "value"].map((name) =>
      parseFloat(getComputedStyle(document.querySelector("#comparisons td ." + name)).fontSize))""")
    assert sizes[0] <= sizes[1], "verdicts are no larger than the numbers"
