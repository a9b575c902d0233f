"""All methods and options of docs/methods.md, from nothing to the report."""

import pandas as pd
import pytest
import yaml
from projects import ROOT

BASELINES = {
    "every_method": {"shapes.copy-last", "shapes.flow-extrapolation"},
    "every_option": {"shapes.copy-last", "shapes.linear-blend_ends", "shapes.nearer-end_ends"},
}


@pytest.mark.soak
@pytest.mark.parametrize("name", BASELINES)
def test_every_method_and_option_has_a_row_in_the_report(project, name):
    text = (ROOT / f"tests/{name}.yaml").read_text(encoding="utf-8")
    (project.folder / "all.yaml").write_text(text, encoding="utf-8")
    answer = project.snakemake("--cores", "2", "--configfile", "all.yaml")
    assert answer.code == 0, answer.text
    values = yaml.safe_load(text)
    table = pd.read_csv(project.folder / values["results"] / "report/tables/results.csv")
    rows = {*values["report"]["predictors"], *BASELINES[name]}
    rows |= {f"{autoencoder}.reconstruction" for autoencoder in values["autoencoders"]}
    assert rows <= set(table["row"])
    assert table.loc[table["row"].isin(rows), "value"].notna().any()
