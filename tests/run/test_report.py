import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from vitrail.measure.classify import judge
from vitrail.run.card import write_card
from vitrail.run.content import (
    SEGMENTATION,
    Cost,
    Explained,
    Look,
    ReportContent,
    amount,
    duration,
    interval,
    percent,
    written,
)
from vitrail.run.findings import balance
from vitrail.run.report import Shown, write_report
from vitrail.values import Estimate

ATTACK = "<script>alert(1)</script>"


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (8, 8), np.uint8)


def measured(classes=4, size=80, multi=False, seed=0, groups=None):
    random = np.random.default_rng(seed)
    names = [f"class {i}" for i in range(classes)]
    if multi:
        scores = random.random((size, classes))
        return judge(
            scores, random.random((size, classes)) < scores**2, classes=names, multi=True, resamples=100
        )
    truth = np.arange(size) % classes
    powers = np.exp(random.normal(size=(size, classes)) + 3 * np.eye(classes)[truth])
    scores = powers / powers.sum(1, keepdims=True)
    return judge(scores, truth, classes=names, resamples=100, groups=groups)


def least(**changes):
    content = ReportContent(
        title="vit on pictures",
        model="vit",
        data="pictures",
        classes=[f"class {i}" for i in range(4)],
        quality=measured(),
    )
    return replace(content, **changes)


def looked(**marks):
    looks = [Look(picture=picture(), heat=np.eye(4), caption="class 1")]
    return Explained(method="layer-cam", looks=looks, **marks)


def full():
    shown = [
        Shown(picture=picture(i), caption="class 1", remark="answered class 2", tone="bad") for i in range(3)
    ]
    return least(
        facts={"Picture size": "8 × 8"},
        splits={"train": [9, 8, 7, 6], "val": [1, 2, 3, 4], "test": [20, 20, 20, 20]},
        broken={"a/b.jpg": "truncated"},
        notes=["A note."],
        samples=shown,
        history=[
            {"epoch": e, "loss": 1 / e, "lr": 0.1, "val_accuracy": 1 - 1 / e, "val_log_loss": 2 / e}
            for e in (1, 2)
        ],
        best_epoch=2,
        temperature=1.5,
        uncalibrated=measured(seed=1),
        best=shown,
        worst=shown,
        mistakes=shown,
        explained=Explained(
            method="layer-cam",
            looks=[Look(picture=picture(), heat=np.eye(4), caption="class 1")],
            road=0.3,
            random=0.1,
        ),
        cost=Cost(
            parameters=1_000_000, flops=2e9, train_seconds=61, train_rate=1234.5, peak_memory=5 * 10**8
        ),
        versions={"torch": "2.11"},
        recipe={"seed": 0, "where": ATTACK},
        commands={"Use it": "vitrail predict RUN"},
        made="2026-11-21",
    )


class Outline(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.titles, self.words, self.last = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.last = tag

    def handle_data(self, data):
        self.words.append(data)
        if self.last == "h2":
            self.titles.append(data)
            self.last = ""


def report(tmp_path, content):
    path = write_report(tmp_path, content)
    assert path == tmp_path / "report.html"
    return Outline(path.read_text(encoding="utf-8"))


def test_a_full_report_has_every_section_and_the_verdict_first(tmp_path):
    outline = report(tmp_path, full())
    assert outline.titles == [
        "Results",
        "What is taken for what",
        "Pictures",
        "Class by class",
        "Confidence",
        "Where it looked",
        "Training",
        "Data",
        "Cost",
        "How it was made",
    ]
    text = " ".join(outline.words)
    accuracy = full().quality.metrics["accuracy"]
    verdict = f"{percent(accuracy.value)}"
    assert text.index(verdict) < text.index("Results")
    assert interval("accuracy", accuracy) in text
    assert "Dotted: always answering the most frequent class, 25.0" in text
    assert "1 file could not be read" in text
    assert "temperature 1.50" in text
    assert "80 pictures" in text


def test_sections_without_data_are_left_out(tmp_path):
    outline = report(tmp_path, least())
    assert outline.titles == ["Results", "What is taken for what", "Class by class", "Confidence"]
    assert "Before" not in outline.words


def test_the_usage_of_experts_is_that_of_the_epoch_that_is_kept(tmp_path):
    def epoch(number, shares):
        usage = {f"train_experts.3.{expert}": share for expert, share in enumerate(shares)}
        return {"epoch": number, "loss": 1.0, "lr": 0.1, "train_experts.dropped": 0.021, **usage}

    history = [epoch(1, [0.1, 0.9]), epoch(2, [0.4, 0.6]), epoch(3, [0.2, 0.8])]
    outline = report(tmp_path, least(history=history, best_epoch=2))
    assert "Experts" in outline.titles
    text = " ".join(outline.words)
    assert "layer 3, expert 1: 60.0%" in text
    assert "All experts are used: 40 to 60\u202f% of the tokens each, where 50.0\u202f% is even." in text
    assert "2.1\u202f% of the tokens found their expert full" in text


def test_an_expert_that_stands_out_is_named():
    even = np.full((2, 8), 0.125)
    assert balance(even, ["1", "3"]).startswith("All experts are used: 12 to 12")
    greedy = np.vstack([even[0], [0.61, *[0.39 / 7] * 7][::-1]])
    said = "Layer 3: expert 7 gets 61\u202f% of the tokens: the balance loss is too weak."
    assert balance(greedy, ["1", "3"]) == said
    idle = np.vstack([[0.004, *[0.996 / 7] * 7], even[0]])
    said = "Layer 1: expert 0 gets only 0.4\u202f% of the tokens, too few to learn from."
    assert balance(idle, ["1", "3"]) == said


def test_several_labels_a_picture_have_no_confusions(tmp_path):
    outline = report(tmp_path, least(multi=True, quality=measured(multi=True)))
    assert outline.titles == ["Results", "Class by class", "Confidence"]
    assert "Mean average precision" in outline.words
    assert not any("Dotted" in each for each in outline.words)


def test_a_page_refers_to_nothing_outside_itself(tmp_path):
    text = write_report(tmp_path, full()).read_text(encoding="utf-8")
    outline = Outline(text)
    for tag, attrs in outline.tags:
        for name in ("src", "href", "action", "srcset", "data", "poster", "xlink:href"):
            value = attrs.get(name, "")
            assert not value or value.startswith(("data:image/", "#")), (tag, name, value[:80])
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+|url\([^)]*\)|@import[^;]*", text))
    assert addresses == {"http://www.w3.org/2000/svg", "url(#vitrail-arch)"}  # both within the mark
    assert [attrs.get("http-equiv") for tag, attrs in outline.tags if tag == "meta"].count(
        "Content-Security-Policy"
    ) == 1


def test_names_from_outside_cannot_become_markup(tmp_path):
    names = [ATTACK, '" onload="alert(2)', "$\\frac$", "![x](y) | `z`"]
    scores = np.full((8, 4), 0.1) + 0.6 * np.eye(4)[[0, 1, 2, 3, 1, 1, 2, 3]]
    quality = judge(scores, np.arange(8) % 4, classes=names, resamples=50)
    shown = [Shown(picture=picture(), caption=ATTACK, remark=ATTACK)]
    content = replace(
        full(),
        title=ATTACK,
        model=ATTACK,
        data=ATTACK,
        classes=names,
        quality=quality,
        facts={ATTACK: ATTACK},
        broken={ATTACK: ATTACK},
        notes=[ATTACK],
        mistakes=shown,
        versions={ATTACK: ATTACK},
        commands={ATTACK: ATTACK},
        made=ATTACK,
    )
    outline = report(tmp_path, content)
    assert sum(tag == "script" for tag, _ in outline.tags) == 1
    assert not any(name.startswith("on") for _, attrs in outline.tags for name in attrs)
    card = write_card(tmp_path, content).read_text(encoding="utf-8")
    body = card.split("\n---\n", 1)[1].split("## Use")[0]
    assert "<script" not in body.replace("\\<script", "")
    assert "\\!\\[x" in body or "!\\[x\\]" in body


@pytest.mark.parametrize("count", [2, 200])
def test_few_and_many_classes_make_pages_of_a_sane_size(tmp_path, count):
    quality = measured(count, 10 * count)
    classes = list(quality.per_class)
    content = least(classes=classes, quality=quality, splits={"test": [10] * count})
    path = write_report(tmp_path, content)
    assert path.stat().st_size < 400_000
    outline = Outline(path.read_text(encoding="utf-8"))
    assert set(classes) <= set(outline.words)


def test_groups_and_absent_classes_are_said(tmp_path):
    quality = measured(groups=np.arange(80) // 4)
    quality = replace(quality, absent=("class 3",))
    text = " ".join(report(tmp_path, least(quality=quality)).words)
    assert "20 groups of 80 pictures" in text
    assert "has no picture of class 3" in text


def front(card):
    lines = card.split("---\n")[1].strip().splitlines()
    return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in lines)}


def test_the_card_is_read_by_hubs_and_people(tmp_path):
    card = write_card(tmp_path, replace(full(), licence="apache-2.0", data="hf://someone/things")).read_text(
        encoding="utf-8"
    )
    meta = front(card)
    assert meta["license"] == "apache-2.0"
    assert meta["pipeline_tag"] == "image-classification"
    assert meta["datasets"] == ["someone/things"]
    assert "base_model" not in meta
    (index,) = meta["model-index"]
    (result,) = index["results"]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values["Accuracy"] == pytest.approx(full().quality.metrics["accuracy"].value, abs=1e-6)
    assert result["dataset"]["split"] == "test"
    for heading in ("# vit on pictures", "## Intended use", "## Metrics", "## Data", "## Limits", "## Use"):
        assert f"\n{heading}\n" in card
    accuracy = full().quality.metrics["accuracy"]
    row = f"| Accuracy | {percent(accuracy.value)} | {interval('accuracy', accuracy)} |"
    assert row.replace("\u202f", " ") in card
    assert 'vitrail.load("path/to/this/folder")' in card
    assert "30 in train; 10 in val; 80 in test" in card
    assert "Tested on fewer than 30 pictures" in card


def test_a_card_without_a_licence_claims_none(tmp_path):
    assert "license" not in front(write_card(tmp_path, least()).read_text(encoding="utf-8"))


def test_words_for_numbers():
    assert percent(0.9666) == "96.7\u202f%"
    assert percent(0.99999) == "99.999\u202f%"  # not all of them
    assert percent(1.0) == "100.0\u202f%"
    assert percent(float("nan")) == "–"
    assert written("log_loss", 0.1234) == "0.123"
    assert interval("accuracy", Estimate(value=0.5, low=0.4, high=0.6)) == "40.0 to 60.0\u202f%"
    assert interval("accuracy", Estimate(value=0.999, low=0.998, high=0.9995)) == "99.80 to 99.95\u202f%"
    assert interval("log_loss", Estimate(value=0.5, low=float("nan"), high=0.6)) == "–"
    assert [duration(each) for each in (3.21, 41, 240, 7200, 9e5)] == [
        "3.2 s",
        "41 s",
        "4 min",
        "2.0 h",
        "10.4 days",
    ]
    assert amount(1_345_678) == "1.35\u202fM"
    assert amount(612e6, "B") == "612\u202fMB"
    assert amount(12) == "12"


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"road": 0.31, "random": 0.02}, "0.31; maps at random have 0.02. How the methods compare"),
        ({"road": 0.01, "random": 0.02}, "do not trust them"),
        ({}, None),
    ],
)
def test_explanations_say_how_far_they_can_be_trusted(tmp_path, marks, said):
    text = " ".join(report(tmp_path, least(explained=looked(**marks))).words)
    assert "by the method layer-cam" in text
    assert ("ROAD" in text) == (said is not None)
    assert said is None or said in " ".join(text.split())


def test_the_worst_of_many_classes_have_a_curve(tmp_path):
    random = np.random.default_rng(0)
    spread = {f"class {i}": np.clip(random.normal(i / 12, 0.1, 30), 0, 1) for i in range(12)}
    content = least(by_picture=spread | {"never": np.array([])})
    text = write_report(tmp_path, content).read_text()
    assert "The 8 worst of 12 classes." in text
    assert text.count("of 30 pictures have") == 8
    assert "class 11: half" not in text
    assert "From picture to picture" not in write_report(tmp_path, least()).read_text()


def test_masks_are_explained_with_what_was_answered(tmp_path):
    plain = write_report(tmp_path, least(explained=looked())).read_text()
    looks = [replace(each, answer=np.zeros((8, 8, 3), np.uint8)) for each in looked().looks]
    content = least(explained=Explained(method="saliency", looks=looks), task=SEGMENTATION)
    text = write_report(tmp_path, content).read_text()
    assert "In the middle is what was answered" in text
    kinds = [re.search(r'"gallery (wider[a-z ]*)">.*?width="(\d+)"', page).groups() for page in (plain, text)]
    assert kinds == [("wider", "448"), ("wider broad", "684")]
