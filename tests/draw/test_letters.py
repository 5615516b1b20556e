import logging

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from vitrail.draw import letters
from vitrail.draw.letters import breadth, broken, cut, write


@pytest.fixture
def alone(monkeypatch):
    """Leave Pillow's own font, and no other."""

    def forget():
        for known in (letters._runs, letters._found, letters._has, letters._there, letters._warn):
            known.cache_clear()

    monkeypatch.setattr(letters, "OTHERS", ())
    forget()
    yield
    forget()


def drawn(text, anchor="la", place=(20, 20)):
    image = Image.new("RGB", (400, 60), "white")
    write(ImageDraw.Draw(image), place, text, 24, "#000000", anchor)
    rows, columns = np.nonzero(np.asarray(image.convert("L")) < 128)
    return (columns.min(), columns.max(), rows.min(), rows.max()) if len(rows) else None


def missing(text):
    """Whether Pillow's own font draws any of this as it draws what it has not."""
    font = ImageFont.load_default(24)
    box = bytes(font.getmask("\U0010ffff"))
    return any(bytes(font.getmask(each)) == box for each in text)


def test_letters_that_no_font_has_are_spelt_and_that_is_said_once(alone, caplog):
    assert missing("é") and missing("猫")  # noqa: PT018
    with caplog.at_level(logging.WARNING):
        parts = [part for text in ("café – żółty", "猫 and 犬") for _, part in letters._runs(text)]
    assert parts == ["cafe - zo[U+0142]ty", "[U+732B] and [U+72AC]"]
    assert not missing("".join(parts).replace(" ", ""))
    assert caplog.text.count("no font here has") == 1


def test_a_font_that_has_the_letters_is_taken_for_all_of_a_line(monkeypatch):
    if not letters._there("DejaVuSans.ttf"):
        pytest.skip("a machine without the font")
    assert {name for name, _ in letters._runs("tiger cat (38 %)")} == {""}
    (whole,) = letters._runs("Яблоко, café")
    assert whole[0] in letters.OTHERS
    assert whole[1] == "Яблоко, café"


def test_marks_stay_with_their_letter_or_go_with_it(alone):
    assert letters._runs("e\u0301") == (("", "e"),)
    assert letters._runs("क्ष") == (("", "[U+0915][U+0937]"),)


@pytest.mark.parametrize(("anchor", "left"), [("lm", 100), ("mm", 50), ("rm", 0)])
def test_a_line_lies_where_its_anchor_says(anchor, left):
    wide = breadth("HHHH", 24)
    found = drawn("HHHH", anchor, (100, 30))
    start = 100 - {"l": 0, "m": 0.5, "r": 1}[anchor[0]] * wide
    assert abs(found[0] - start) < 4
    assert abs((found[2] + found[3]) / 2 - 30) < 4
    assert abs((found[1] - found[0]) - wide) < 6


def test_lines_are_broken_and_cut_to_a_width():
    text = "tabby, tabby cat, " * 5 + "a" * 60
    lines = broken(text, 20, 150)
    assert all(breadth(line, 20) <= 150 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert breadth(cut(text, 20, 150), 20) <= 150
    assert cut(text, 20, 150).endswith("…")
    assert cut(" two  words ", 20, 500) == "two words"
