import base64
import csv
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from vitrail.draw.html import Html, element, embed, escape, join
from vitrail.draw.page import (
    Cell,
    Section,
    Shown,
    beside,
    code,
    csv_text,
    download,
    facts,
    figure,
    folded,
    gallery,
    page,
    paragraph,
    range_bar,
    table,
)
from vitrail.values import Estimate

ATTACK = "<script>alert(1)</script>\"'&"


class Outline(HTMLParser):
    """Every tag with its attributes, in order; complains when tags do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "col"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def example():
    sections = [Section(title=f"Part {i} & more", lead="Why.", content=[paragraph("text")]) for i in range(6)]
    return page("Title <b>", element("h1", "Head"), sections, paragraph("Foot"))


def test_whatever_is_not_markup_is_escaped():
    assert element("p", ATTACK) == "<p>&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;</p>"
    assert element("p", Html("<b>x</b>")) == "<p><b>x</b></p>"
    assert element("a", "x", title=ATTACK).count("<") == 2
    assert join(["<", Html("<br>"), None, 3]) == "&lt;<br>3"
    assert escape(1.5) == "1.5"


def test_attributes_are_written_as_html_wants_them():
    assert element("i", class_="a", data_order="1", hidden=True, open=False, id=None) == (
        '<i class="a" data-order="1" hidden></i>'
    )
    assert element("rect", x=1.23456, y=2.0) == '<rect x="1.23" y="2"/>'
    assert element("img", src="x") == '<img src="x">'


def test_the_page_is_whole_and_well_nested():
    outline = Outline(example())
    names = [tag for tag, _ in outline.tags]
    assert names[:2] == ["html", "head"]
    assert names.count("main") == names.count("h1") == 1
    assert [attrs["id"] for tag, attrs in outline.tags if tag == "section"] == [
        f"part-{i}---more" for i in range(6)
    ]
    links = [attrs["href"] for tag, attrs in outline.tags if tag == "a"]
    assert {f"#part-{i}---more" for i in range(6)} <= set(links)
    assert dict(outline.tags)["html"]["lang"] == "en"
    assert "Title <b>" in outline.words


def test_few_sections_need_no_contents():
    sections = [Section(title="One", content=[])]
    assert "nav" not in [tag for tag, _ in Outline(page("t", Html(), sections, Html())).tags]


def test_the_policy_forbids_the_network_and_allows_this_script_only():
    text = example()
    policy = next(attrs["content"] for tag, attrs in Outline(text).tags if attrs.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"


def test_tables_sort_by_numbers_behind_their_text():
    rows = [["a", Cell(shown="97 %", order=0.97), "x"], ["b", Cell(shown="–", order=float("nan")), "y"]]
    outline = Outline(table(ATTACK, ["Name", "Value", ATTACK], rows))
    orders = [attrs.get("data-order") for tag, attrs in outline.tags if tag == "td"]
    assert orders == ["0.97", None, "", None]
    heads = [attrs.get("class") for tag, attrs in outline.tags if tag == "th" and attrs["scope"] == "col"]
    assert heads == [None, "number", None]
    assert sum(tag == "button" for tag, _ in outline.tags) == 3
    assert "button" not in table("t", ["Name"], [["only"]])
    assert "long" in table("t", ["Name"], [[str(i)] for i in range(60)])


def test_tiny_pictures_are_embedded_exactly_and_large_ones_small():
    tiny = np.random.default_rng(0).integers(0, 255, (8, 8), np.uint8)
    source = dict(Outline(embed(tiny, "alt")).tags)["img"]["src"]
    pixels = Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/png;base64,"))))
    np.testing.assert_array_equal(np.asarray(pixels)[::20, ::20], tiny)
    large = np.random.default_rng(0).integers(0, 255, (1000, 800, 3), np.uint8)
    attributes = dict(Outline(embed(large, ATTACK)).tags)["img"]
    assert attributes["src"].startswith("data:image/jpeg;base64,")
    assert (attributes["width"], attributes["height"], attributes["alt"]) == ("128", "160", ATTACK)
    assert len(attributes["src"]) < 60_000


def test_pictures_have_words():
    shown = Shown(picture=np.zeros((8, 8), np.uint8), caption=ATTACK, remark="answered 3", tone="bad")
    outline = Outline(gallery([shown, Shown(picture=np.zeros((8, 8), np.uint8), caption="")]))
    images = [attrs for tag, attrs in outline.tags if tag == "img"]
    assert images[0]["alt"] == f"{ATTACK}, answered 3"
    assert "script" not in [tag for tag, _ in outline.tags]
    assert sum(tag == "figcaption" for tag, _ in outline.tags) == 1


def test_a_range_shows_value_interval_and_mark():
    drawn = range_bar(Estimate(value=0.95, low=0.9, high=0.975), low=0.9, mark=0.92)
    assert "--at:50.00%;--from:0.00%;--to:75.00%" in drawn
    assert "left:20.00%" in drawn
    nan = float("nan")
    assert "--from:95.00%;--to:95.00%" in range_bar(Estimate(value=0.95, low=nan, high=nan))
    assert range_bar(Estimate(value=nan, low=nan, high=nan)) == ""


def test_csv_is_read_back_as_it_was():
    rows = [
        ['google/vit, "base"', 0.1 + 0.2, 3, float("nan"), None],
        ["two\nlines", np.float64(1 / 3), np.int64(-7), np.float32("nan"), ""],
        ["été", -1.5e-9, -2, 1e300, "x"],
    ]
    text = csv_text(["Name", "a", "b", "c", "d"], rows)
    header, *read = csv.reader(io.StringIO(text, newline=""))
    assert header == ["Name", "a", "b", "c", "d"]
    assert [row[0] for row in read] == [row[0] for row in rows]
    assert [float(row[1]) for row in read] == [0.1 + 0.2, 1 / 3, -1.5e-9]  # to the last bit
    assert [row[2] for row in read] == ["3", "-7", "-2"]
    assert [row[3] for row in read] == ["", "", "1e+300"]
    assert [row[4] for row in read] == ["", "", "x"]


@pytest.mark.parametrize("words", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_texts_are_no_formulas(words):
    for text in (csv_text(["a"], [[words]]), csv_text([words], [["a"]])):
        assert [f"'{words}"] in list(csv.reader(io.StringIO(text, newline="")))


def test_csv_leaves_numbers_and_other_texts_alone():
    assert csv_text(["a - b", "c"], [[-1.5, "a=b"], [-3, "'"]]) == "a - b,c\r\n-1.5,a=b\r\n-3,'\r\n"


def test_a_download_is_the_table_itself():
    columns, rows = ["Model", "Accuracy"], [["été", 0.5], [ATTACK, -0.25]]
    (tag, attrs), *others = Outline(download("ranges.csv", columns, rows)).tags
    assert (tag, others) == ("a", [])
    assert attrs["download"] == "ranges.csv"
    start, data = attrs["href"].split(",")
    assert start == "data:text/csv;charset=utf-8;base64"
    assert base64.b64decode(data).decode() == csv_text(columns, rows)


def test_a_figures_link_is_beside_its_title_or_in_its_caption():
    drawing, link = Html("<svg></svg>"), download("a.csv", ["a"], [])
    assert [tag for tag, _ in Outline(figure(drawing, "words", "Title", link)).tags] == [
        "figure",
        "div",
        "h3",
        "a",
        "svg",
        "figcaption",
    ]
    for words in ("words", None):
        names = [tag for tag, _ in Outline(figure(drawing, words, link=link)).tags]
        assert names == ["figure", "svg", "figcaption", "a"]
    assert figure(drawing, "words", "Title") == (
        '<figure class="plot"><h3>Title</h3><svg></svg><figcaption>words</figcaption></figure>'
    )


@pytest.mark.parametrize(
    "part",
    [
        facts({ATTACK: ATTACK}),
        folded(ATTACK, code(ATTACK)),
        figure(Html("<svg></svg>"), ATTACK, ATTACK),
        beside(),
    ],
)
def test_parts_are_well_nested_and_escaped(part):
    assert "script" not in [tag for tag, _ in Outline(part).tags]
