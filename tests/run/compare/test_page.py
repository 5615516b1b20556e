"""What a comparison says, in sentences, tables and on its page."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest

from vitrail.draw.page import csv_text
from vitrail.measure.paired import Uncertain
from vitrail.run.compare.page import write_page
from vitrail.run.compare.statistics import Pair
from vitrail.run.compare.tables import tables
from vitrail.run.compare.verdict import difference_in_words, reservations, verdict


def pair(value, reach, p, metric="accuracy", order="max"):
    found = Uncertain(
        value=value,
        over_pictures=(reach / 1.959964) ** 2,
        over_seeds=0.0,
        pictures_freedom=1e6,
        seeds_freedom=1e6,
        seeds=5,
    )
    return Pair(ours="vit-s16", theirs="resnet50", metric=metric, order=order, found=found, p_adjusted=p)


def test_a_difference_that_is_shown():
    assert difference_in_words(pair(0.018, 0.012, 0.001)) == (
        "vit-s16 is better than resnet50 by 1.8 points (0.6 to 3.0); with this test set a difference under "
        "1.2 could not have been seen."
    )
    assert difference_in_words(pair(-0.018, 0.012, 0.001)).startswith(
        "resnet50 is better than vit-s16 by 1.8"
    )
    assert difference_in_words(pair(-0.1, 0.05, 0.001, "log_loss", "min")).startswith(
        "vit-s16 is better than resnet50 by 0.100 nats of log loss (0.050 to 0.150)"
    )


def test_a_difference_that_is_not_shown():
    said = difference_in_words(pair(0.009, 0.015, 0.3))
    assert said.startswith("No difference between vit-s16 and resnet50 is shown: 0.9 points (-0.6 to 2.4)")
    said = difference_in_words(pair(0.018, 0.012, 0.09), pairs=10)
    assert "is shown once all 10 comparisons are counted" in said


def test_a_difference_that_is_no_number():
    assert "nothing can be said" in difference_in_words(pair(np.nan, np.nan, np.nan))


def test_the_verdict_names_who_is_beaten_and_who_is_level(made_up_outcome, tmp_path):
    names = ("first", "second", "third", "fourth")
    outcome = made_up_outcome(tmp_path, names, pictures=600)
    said = " ".join(verdict(outcome.ranking))
    shown = {frozenset((each.ours, each.theirs)): each.shown for each in outcome.ranking.of("accuracy")}
    assert shown[frozenset(("first", "fourth"))]
    assert "first is better than" in said
    assert "fourth, too" in said
    assert reservations(outcome.ranking)[0].startswith("3 seeds are few")


def test_every_figure_is_a_table(made_up_outcome, tmp_path):
    outcome = made_up_outcome(tmp_path)
    found = tables(outcome)
    rows = list(csv.DictReader(io.StringIO(csv_text(found["results"].columns, found["results"].rows))))
    first = next(row for row in rows if (row["model"], row["metric"]) == ("vit-s16", "accuracy"))
    assert float(first["mean"]) == outcome.ranking.standings[0].metrics["accuracy"].value
    write_page(outcome)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    saved = set(re.findall(r'download="([\w-]+)\.csv"', page))
    assert saved == set(found)


@pytest.mark.parametrize("count", [1, 2, 12])
def test_pages_of_few_and_many_models(made_up_outcome, tmp_path, count):
    names = tuple(f"google/vit-base-patch16-224-in21k-{number}" for number in range(count))
    outcome = made_up_outcome(tmp_path, names)
    if count == 1:
        outcome = replace(outcome, agreement={}, partings=())
    write_page(outcome)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<h2>") >= 7
    assert "nan" not in re.sub(
        r"<script.*?</script>|data:[^\"]*|<style.*?</style>", "", page, flags=re.DOTALL
    )
    assert len(page) < 3_000_000


def test_names_from_outside_cannot_become_markup(made_up_outcome, tmp_path):
    attack = "<script>alert(1)</script>"
    outcome = made_up_outcome(tmp_path, (attack, "b"), classes=(attack, "x", "y"))
    write_page(replace(outcome, data=attack, notes=[attack]))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<script") == 1
