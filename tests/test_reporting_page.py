"""The page: alone in the world, honest about gaps, safe with hostile names."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from here import run_here

from rsvp.report.examples import pick
from rsvp.report.records import result_label
from rsvp.runtime.files import write_json
from rsvp.stages import report
from rsvp.stages.report import TABLES
from tests.fake_results import make_report, make_results

PLOTS = ("horizon", "curves", "learning", "copies")
HOSTILE = "<script>alert(1)<-script>&\"'"
VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture(scope="module")
def poor(tmp_path_factory) -> Path:
    """Hostile names, several seeds, no LPIPS, no videos; by code of another commit."""
    results = tmp_path_factory.mktemp("poor")
    make_results(
        results, clips=4, groups=2, seeds=(0, 1), lpips=False, predictions=False,
        class_name=HOSTILE,
    )  # fmt: skip
    rejected = {"id": [HOSTILE], "path": [HOSTILE], "reason": [HOSTILE]}
    pd.DataFrame(rejected).to_csv(results / "datasets/fake/rejected.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rsvp.report.records.git_commit", lambda: "fedcba98+")
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
    tables = re.split(r'<table class="sortable[^"]*">', page.read_text())[1:]
    tables = [table.split("</table>")[0] for table in tables]
    values = {float(v) for v in re.findall(r'<td data-value="([^"]+)"', "".join(tables))}
    psnr = results[(results["metric"] == "psnr") & results["value"].notna()]["value"]
    assert len(psnr) and all(any(abs(v - value) < 1e-9 for v in values) for value in psnr)
    assert all(table.count("data-better=") == table.count("<button") for table in tables)
    floor = re.search(r'<tr class="floor">(.*?)</tr>', tables[0], re.DOTALL)[1]
    assert floor.count("not computed") >= 4, "an empty cell says why"


def test_every_section_with_numbers_says_what_they_stand_on(page):
    """Protocol, clips, groups and seeds, beside the numbers: nobody scrolls for them."""
    text = page.read_text()
    parts = {name: text.split(f'<section id="{name}">')[1].split("</section>")[0]
             for name in ("results", "comparisons", "horizon")}  # fmt: skip
    parts["in short"] = text.split('aria-label="In short">')[1].split("</section>")[0]
    svg = (page.parent / "plots/horizon.svg").read_text()
    parts["horizon.svg"] = " ".join(re.findall(r"<(?:text|tspan)[^>]*>([^<]*)<", svg))
    for name, part in parts.items():
        said = re.sub(r"\s+", " ", part)
        assert "prediction: fake test split, 6 clips spread evenly, 4 observed + 12" in said, name
        assert "6 clips in 3 groups, 1 seed." in said, name


def test_page_names_the_code_that_made_it_beside_that_of_the_stages(poor):
    """A report made again by newer code says so."""
    (line,) = re.findall(r"<dt>this report</dt><dd>([^<]*)</dd>", poor.read_text())
    assert line.startswith("commit fedcba98+; python ")
    assert f"pandas {pd.__version__}" in line and "matplotlib" in line


def test_page_says_what_was_not_computed(page, poor):
    said = r"Not computed: {}[^<]*: weights\.{} is not set"
    assert re.search(said.format("FVD", "i3d"), page.read_text())
    assert re.search(said.format("LPIPS", "lpips_backbone"), poor.read_text())
    assert "No predictions of this row are at hand" in poor.read_text()


def test_hostile_names_stay_text(poor):
    text = poor.read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert [tag for tag, _ in Elements(text).found].count("script") == 1
    for table in TABLES:
        assert "<script>" not in (poor.parent / f"tables/{table}.md").read_text()


def test_examples_are_the_ends_and_the_middle_of_the_ranking(page):
    text = page.read_text()
    scores = pd.read_parquet(page.parents[1] / "evaluation/rsvp-m/seed0/scores.parquet")
    psnr = scores[scores["trajectory"] >= 0].groupby("clip")["psnr"].mean()
    ranking = psnr.sort_values(ascending=False)
    shown = re.findall(r'<b class="place">(\w+)</b> <span class="clip">([^<]+)</span>', text)
    assert shown == [
        ("best", ranking.index[0]), ("median", ranking.index[2]), ("worst", ranking.index[-1])
    ]  # fmt: skip
    values = [
        float(value) for value in re.findall(r"PSNR: <b>rsvp-m&nbsp;([\d.]+)&nbsp;dB</b>", text)
    ]
    assert values == pytest.approx([ranking.iloc[i] for i in (0, 2, -1)], abs=0.051)
    assert re.findall(r"rank (\d) of 6", text) == ["1", "3", "6"]


def test_page_prints_what_scene_object_and_motion_mean(page):
    section = page.read_text().split('<section id="decomposition">')[1].split("</section>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in section.split("<tr>")]
    scene = next(row for row in rows if row[:3] == ["Scene", "PSNR", "(dB)"])
    assert scene[3] == "31.00", "the mean over clips of the invented scores"
    assert section.count("<table>") == 2 and 'scope="row"' in section


def test_page_says_why_there_are_no_views(page, tmp_path):
    assert "what the autoencoder makes of the observed frames" in page.read_text()
    results = make_results(tmp_path, clips=3, groups=3)
    write_json(
        results / "semantics/rsvp/seed0/index.json",
        {"autoencoder": "rsvp", "seed": 0, "reason": "frames are its only latents"},
    )
    text = make_report(results).read_text()
    assert "are not shown: frames are its only latents." in text
    assert ">scene</span>" not in text


def test_tables_hold_the_same_numbers_in_every_format(page):
    for table in TABLES:
        path = page.parent / f"tables/{table}.csv"
        frame = pd.read_parquet(path.with_suffix(".parquet"))
        assert frame.to_csv(index=False) == path.read_text()
        assert len(frame) or table in ("curves", "motion"), "these take 16 clips, and 8"
    results = pd.read_csv(page.parent / "tables/results.csv")
    known = results[(results["row"] == "rsvp-m") & (results["metric"] == "psnr")]
    value = f"{known[known['sampling'] == 'single']['value'].iloc[0]:.2f}"
    for suffix in (".md", ".tex"):
        assert value in (page.parent / f"tables/results{suffix}").read_text()
    budgets = pd.read_csv(page.parent / "tables/budgets.csv")
    assert budgets["seconds"].tolist() == pytest.approx([0.08 * (1200 + 400 + 1500)])
    assert "stopped early: patience" in page.read_text()
    cost = pd.read_csv(page.parent / "tables/cost.csv").set_index("stage")
    assert cost.loc["train_diffusion", "flops_forward"] == 1_520_000_000
    assert '<td class="number">1.52\N{NO-BREAK SPACE}G</td>' in page.read_text()


def test_stand_alone_plots_follow_light_and_dark(page):
    for name in PLOTS:
        text = (page.parent / f"plots/{name}.svg").read_text()
        assert "prefers-color-scheme:dark" in text and "<metadata>" not in text
        assert not re.search(r"#0[1-7]0[1-7]0[1-7]", text), "a placeholder colour is left"


def test_same_results_give_the_same_page(page, tmp_path):
    again = make_report(make_results(tmp_path, clips=6, groups=3, views=True))
    assert again.read_text() == page.read_text()


def test_no_evaluations_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.json").write_text('{"report": {"predictors": ["p"]}}')
    (tmp_path / "inputs.json").write_text("{}")
    flags = {"settings": "settings.json", "inputs": "inputs.json", "folder": "report",
             "record": "run.json"}  # fmt: skip
    code, terminal = run_here(
        report, *(text for flag, value in flags.items() for text in (f"--{flag}", value))
    )
    assert code == 2
    assert terminal.splitlines() == [
        "rsvp report: no evaluations given; name at least one evaluation index"
    ]
    assert not (tmp_path / "report").exists() and not (tmp_path / "run.json").exists()


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
