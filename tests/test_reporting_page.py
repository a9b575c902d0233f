"""The page: alone in the world, honest about gaps, safe with hostile names, alive in a browser."""

import base64
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from rsvp.reporting.examples import pick
from rsvp.reporting.records import duration, result_label
from tests.fake_results import make_results

HOSTILE = "<script>alert(1)<-script>&\"'"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "link", "br", "img", "input", "hr"}


def make_report(results: Path, title: str = "A report") -> Path:
    """Run the stage as the workflow does, inside the results folder; returns the page."""
    report = {"title": title, "predictors": ["rsvp-m"], "examples": 3}
    settings = results / "settings.json"
    settings.write_text(json.dumps({"report": report, "evaluation": {"bootstrap": 200}}))

    def found(pattern: str) -> list[str]:
        return sorted(str(path.relative_to(results)) for path in results.glob(pattern))

    command = [sys.executable, "-m", "rsvp.report", "--settings", "settings.json"]
    for flag, patterns in {
        "evaluations": ["evaluation/*/*/index.json"],
        "histories": ["autoencoders/**/history.csv", "predictors/**/history.csv"],
        "records": ["**/run.json"],
        "predictions": ["predictions/*/*/index.json"],
        "datasets": ["datasets/*/index.json"],
    }.items():
        command += [f"--{flag}", *[path for pattern in patterns for path in found(pattern)]]
    for flag, path in {
        "page": "report.html", "results": "tables/results.csv",
        "results-markdown": "tables/results.md", "horizon": "tables/horizon.csv",
        "comparisons": "tables/comparisons.csv", "horizon-plot": "plots/horizon.svg",
        "learning-plot": "plots/learning.svg", "record": "run.json",
    }.items():  # fmt: skip
        command += [f"--{flag}", f"report/{path}"]
    done = subprocess.run(command, cwd=results, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return results / "report/report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    return make_report(make_results(tmp_path_factory.mktemp("results"), clips=6, groups=3))


@pytest.fixture(scope="module")
def poor(tmp_path_factory) -> Path:
    """Hostile names, several seeds, no LPIPS, no videos."""
    results = tmp_path_factory.mktemp("poor")
    make_results(
        results, clips=4, groups=2, seeds=(0, 1), lpips=False, videos=0, class_name=HOSTILE
    )
    rejected = {"id": [HOSTILE], "path": [HOSTILE], "reason": [HOSTILE]}
    pd.DataFrame(rejected).to_csv(results / "datasets/fake/rejected.csv", index=False)
    return make_report(results, title=HOSTILE)


class Elements(HTMLParser):
    """Collects elements, attributes and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes another element"


def test_page_names_no_address_and_loads_nothing(page):
    text = page.read_text()
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)", text)
    for tag, attributes in Elements(text).found:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), (tag, name, value[:80])


def test_page_is_well_formed_with_unique_ids(page):
    elements = Elements(page.read_text())
    assert not elements.open
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"results", "comparisons", "horizon", "examples", "training", "data"} <= set(ids)


def test_cells_carry_the_numbers_they_sort_by(page):
    results = pd.read_csv(page.parent / "tables/results.csv")
    table = page.read_text().split('<table class="sortable">')[1].split("</table>")[0]
    values = {float(value) for value in re.findall(r'<td data-value="([^"]+)"', table)}
    psnr = results[(results["metric"] == "psnr") & results["value"].notna()]["value"]
    assert len(psnr) and all(any(abs(v - value) < 1e-9 for v in values) for value in psnr)
    assert table.count("data-better=") == table.count("<button")
    floor = re.search(r'<tr class="floor">(.*?)</tr>', table, re.DOTALL)[1]
    assert floor.count("not computed") >= 5, "an empty cell says why"


def test_page_says_what_was_not_computed(page, poor):
    assert re.search(r"<b>FVD</b> \(weights\.i3d is not set\)", page.read_text())
    assert re.search(r"<b>LPIPS</b> \(weights\.lpips_backbone is not set\)", poor.read_text())
    assert "No videos were kept" in poor.read_text()


def test_hostile_names_stay_text(poor):
    text = poor.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert [tag for tag, _ in Elements(text).found].count("script") == 1
    assert "<script>" not in (poor.parent / "tables/results.md").read_text()


def test_examples_embed_the_videos_whole(page):
    sources = re.findall(r'<video src="data:video/mp4;base64,([^"]+)"', page.read_text())
    kept = {
        path.read_bytes() for path in page.parents[1].glob("predictions/rsvp-m/seed0/videos/*.mp4")
    }
    assert len(sources) == 3 and all(base64.b64decode(source) in kept for source in sources)
    places = re.findall(r'<b class="place">(\w+)</b>', page.read_text())
    assert places == ["best", "median", "worst"]


def test_stand_alone_plots_follow_light_and_dark(page):
    for name in ("horizon", "learning"):
        text = (page.parent / f"plots/{name}.svg").read_text()
        assert "prefers-color-scheme:dark" in text and "<metadata>" not in text
        assert not re.search(r"#0[1-7]0[1-7]0[1-7]", text), "a placeholder colour is left"


def test_same_results_give_the_same_page(page, tmp_path):
    again = make_report(make_results(tmp_path, clips=6, groups=3))
    assert again.read_text() == page.read_text()


def test_no_evaluations_is_one_clear_line(tmp_path):
    (tmp_path / "settings.json").write_text('{"report": {"predictors": ["p"]}}')
    outputs = ["page", "results", "results-markdown", "horizon", "comparisons", "horizon-plot"]
    command = [sys.executable, "-m", "rsvp.report", "--settings", "settings.json"]
    for name in [*outputs, "learning-plot"]:
        command += [f"--{name}", f"{name}.out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "rsvp report: no evaluations given; name at least one evaluation index"
    ]
    assert not list(tmp_path.glob("*.out"))


@pytest.mark.parametrize(
    ("ranked", "wanted", "chosen"),
    [
        ("abcdefg", 3, "adg"),
        ("abcdefgh", 6, "abdegh"),
        ("ab", 6, "ab"),
        ("abc", 3, "abc"),
        ("abcd", 0, ""),
        ("", 3, ""),
    ],
)
def test_examples_are_picked_from_top_middle_and_end(ranked, wanted, chosen):
    assert "".join(clip for _, clip in pick(list(ranked), wanted)) == chosen


def test_labels_come_from_the_path():
    path = Path("/x/results/autoencoders/rsvp/seed2/finetuned/history.csv")
    assert result_label(path) == ("autoencoder rsvp, finetuned", 2)
    assert result_label(Path("predictors/rsvp-m/seed0/run.json")) == ("predictor rsvp-m", 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.21, "4.2 s"),
        (42.0, "42 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7512, "2 h 05 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


PROBE = """<script>
setTimeout(() => {
  const body = document.querySelector("table.sortable").tBodies[0];
  const button = document.querySelectorAll("table.sortable button")[1];
  const values = () => [...body.rows].map((row) => Number(row.cells[1].dataset.value));
  const report = {};
  button.click();
  report.first = [button.parentElement.ariaSort, values()];
  button.click();
  report.second = [button.parentElement.ariaSort, values()];
  report.overflow = document.documentElement.scrollWidth > innerWidth;
  report.videos = [...document.querySelectorAll("video")].map((video) => video.videoWidth);
  document.body.dataset.probe = JSON.stringify(report);
}, 1500);
</script></body>"""


@pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH")
def test_page_lives_in_a_browser(page, tmp_path):
    probe = tmp_path / "probe.html"
    probe.write_text(page.read_text().replace("</body>", PROBE))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
               "--no-first-run", "--disable-background-networking", "--disable-component-update",
               "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
               "--enable-logging=stderr", "--v=0", "--window-size=600,900",
               "--virtual-time-budget=5000", "--dump-dom", probe.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    found = re.search(r'data-probe="([^"]+)"', done.stdout)
    assert found, done.stderr[-2000:]
    report = json.loads(found[1].replace("&quot;", '"'))
    order, values = report["first"]
    assert order == "descending" and values == sorted(values, reverse=True)
    order, values = report["second"]
    assert order == "ascending" and values == sorted(values)
    assert not report["overflow"], "the page is wider than the window"
    assert report["videos"] == [588] * 3, "a video was not decoded"
