"""The table of metrics: as the program writes it, and with all that a rule or a dashboard asks for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy import metrics
from service.adapters import distribution_page

DEPLOY = Path(metrics.__file__).parent
ASKING = [path for path in DEPLOY.rglob("*") if path.suffix in (".yml", ".json")]
FAMILY = re.compile(r"\bunderstudy_[a-z0-9_]+")


def test_the_table_is_as_its_program_writes_it() -> None:
    assert metrics.FILE.read_text(encoding="utf-8") == metrics.text()


def test_every_family_says_what_it_means_and_who_knows() -> None:
    found = metrics.families()
    names = [each.name for each in found]
    assert names == sorted(set(names))
    for each in found:
        assert re.fullmatch(r"understudy_[a-z_]+", each.name)
        assert (each.type == "counter") == each.name.endswith("_total")
        assert each.help.endswith(".")
        assert each.process in (metrics.EDGE, metrics.SHADOW, metrics.BOTH)
    known = {each.name: each for each in found}
    assert known["understudy_model_ready"].process == metrics.BOTH
    assert known["understudy_shadow_flips_total"].labels == ("candidate", "slice", "from", "to")
    assert known["understudy_shadow_rows_total"].labels == ("candidate", "outcome")
    assert {family.name for family in distribution_page.FAMILIES} <= known.keys()


def test_the_table_has_a_row_of_five_columns_for_every_family() -> None:
    rows = [line.split(" | ") for line in metrics.text().splitlines() if line.startswith("| `")]
    assert len(rows) == len(metrics.families())
    assert {len(row) for row in rows} == {5}


def test_a_family_of_two_processes_is_one_row_unless_they_contradict_each_other() -> None:
    edge = metrics.Family("understudy_x", "gauge", ("model",), "What it is.", metrics.EDGE)
    assert metrics.merged([edge, edge._replace(process=metrics.SHADOW)]) == [
        edge._replace(process=metrics.BOTH)
    ]
    for other in (edge._replace(labels=()), edge._replace(help="Another."), edge._replace(type="counter")):
        with pytest.raises(ValueError, match="understudy_x is made in two ways"):
            metrics.merged([edge, other])


@pytest.mark.parametrize("path", ASKING, ids=lambda path: path.name)
def test_rules_and_dashboards_ask_for_documented_families_only(path: Path) -> None:
    known = {each.name for each in metrics.families()}
    known |= {f"{each.name}_{end}" for each in metrics.families() for end in ("bucket", "sum", "count")}
    assert set(FAMILY.findall(path.read_text(encoding="utf-8"))) <= known
