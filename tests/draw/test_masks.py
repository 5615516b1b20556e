"""Masks as pictures: colours where classes are, and nothing else touched."""

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from vitrail.draw import masks
from vitrail.draw.masks import answers_beside, error, index_png, mask_over, palette_of, truth_answer_error
from vitrail.values import IGNORED, Mask

PICTURE = load_sample_image("china.jpg")[:120, :160]
NAMES = ("background", "roof", "tree")


def answer(multi=False):
    values = np.zeros((120, 160), np.uint8)
    values[20:60, 30:90] = 1
    values[50:100, 80:140] = 2
    if multi:
        return Mask(names=NAMES, values=np.stack([values == k for k in range(3)]), source=0, multi=True)
    return Mask(names=NAMES, values=values, source=0)


def test_colours_are_told_apart_and_a_background_has_none():
    found = palette_of(["background", *map(str, range(150))])
    assert found[0] == (0, 0, 0)
    assert len(set(found)) == 151
    assert (0, 0, 0) not in palette_of(["cat", "dog"])


def test_only_where_a_class_is():
    mask = answer()
    shown = np.asarray(mask_over(PICTURE, mask))
    ground = mask.values == 0
    assert np.array_equal(shown[ground], PICTURE[ground])
    assert (shown[~ground] != PICTURE[~ground]).any(1).mean() > 0.95
    assert tuple(shown[20, 50]) == palette_of(NAMES)[1]  # an outline is the colour itself
    several = np.asarray(mask_over(PICTURE, answer(multi=True)))
    assert np.array_equal(several, shown)


def test_an_index_png_is_both(tmp_path):
    draft = io.BytesIO()
    index_png(answer(), draft)
    image = Image.open(draft)
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), answer().values)
    assert image.convert("RGB").getpixel((50, 30)) == palette_of(NAMES)[1]


def test_errors_are_where_answer_and_truth_differ():
    mask, truth = answer(), answer().values.copy()
    truth[:10] = 2
    truth[110:] = IGNORED
    shown = np.asarray(error(Image.fromarray(PICTURE), mask, truth)).astype(int)
    reddish = shown[:, :, 0] - shown[:, :, 2] > 60
    assert reddish[:10].all()
    assert not reddish[10:110].any()
    assert len(np.unique(shown[110:].reshape(-1, 3), axis=0)) == 1


def test_side_by_side():
    whole = truth_answer_error(PICTURE, answer(), answer().values)
    alone = truth_answer_error(PICTURE, answer())
    assert whole.width > 4 * 160
    assert 2 * 160 < alone.width < 3 * 160
    assert whole.height > 120
    names = ("background", *(f"a class of a rather long name {k}" for k in range(40)))
    many = Mask(names=names, values=(np.arange(120 * 160) % 41).reshape(120, 160).astype(np.uint8), source=0)
    assert truth_answer_error(PICTURE, many).height > whole.height


def test_answers_of_several_beside_each_other():
    mask = answer()
    both = answers_beside(PICTURE, {"one": mask, "other": mask}, mask.values)
    assert 4 * 160 < both.width < 5 * 160
    assert answers_beside(PICTURE, {"one": mask}, mask.values, errors=True).width == both.width
    small = Mask(names=mask.names, values=mask.values[:30, :40], source=0)
    large = answers_beside(np.asarray(PICTURE)[:30, :40], {"one": small}, small.values, least=160)
    assert 3 * 160 < large.width < 4 * 160


def test_strips_show_no_border(monkeypatch):
    mask = answer()
    whole = np.asarray(mask_over(PICTURE, mask))
    monkeypatch.setattr(masks, "STRIP", 160 * 7)
    assert np.array_equal(np.asarray(mask_over(PICTURE, mask)), whole)
    assert np.array_equal(np.asarray(mask_over(PICTURE, answer(multi=True))), whole)
