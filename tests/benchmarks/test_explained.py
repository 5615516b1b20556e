"""What explains unless another method is named is what was measured to do it well."""

import pytest

from vitrail.run.explain.choice import PREFERRED


@pytest.fixture
def lines(benchmark):
    return benchmark("explained_table").read()


def test_the_default_finds_the_object_on_every_network_measured(lines):
    assert {line["kind"] for line in lines} == PREFERRED.keys() - {"other"}
    for line in lines:
        heat = line["parts"]["learned"]["methods"][PREFERRED[line["kind"]][0]]["inside"]
        assert heat["value"] >= 2, line["network"]
        assert heat["low"] > line["parts"]["learned"]["methods"]["random"]["inside"]["high"]


def test_no_quick_method_is_clearly_better_than_the_default(lines, benchmark):
    table = benchmark("explained_table")
    for kind, names in PREFERRED.items():
        merits = table.merit(line for line in lines if line["kind"] == kind)
        if merits:
            assert merits[names[0]] >= 0.9 * max(merits.values()), kind


def test_the_table_is_of_the_lines_that_are_kept(lines, benchmark, monkeypatch, tmp_path):
    table = benchmark("explained_table")
    committed = table.TABLE.read_text(encoding="utf-8")
    monkeypatch.setattr(table, "TABLE", tmp_path / "again.md")
    table.write()
    assert (tmp_path / "again.md").read_text(encoding="utf-8") == committed
