import numpy as np

from vitrail.draw.palette import CATEGORIES, from_oklab, heat_colours, paint_heat, to_oklab


def simulate(rgb, kind):
    """Return linear sRGB as seen without one kind of cones (Vienot et al. 1999)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = {
        "red": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "green": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }[kind]
    linear = np.clip(linear @ np.array(matrix).T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_the_heat_map_is_even_and_only_climbs():
    lab = to_oklab(heat_colours() / 255)
    assert heat_colours().shape == (256, 3)
    assert (np.diff(lab[:, 0]) > 0).all()
    steps = np.linalg.norm(np.diff(lab[::8], axis=0), axis=1)
    assert steps.std() < 0.06 * steps.mean()


def test_the_heat_map_climbs_with_any_colour_vision():
    for kind in ("red", "green"):
        lightness = to_oklab(simulate(heat_colours() / 255, kind))[::4, 0]
        assert (np.diff(lightness) > 0).all(), kind


def test_categories_are_told_apart_with_any_colour_vision():
    colours = np.array([[int(each[i : i + 2], 16) / 255 for i in (1, 3, 5)] for each in CATEGORIES])
    for seen in (colours, simulate(colours, "red"), simulate(colours, "green")):
        lab = to_oklab(seen)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[~np.eye(8, dtype=bool)]
        assert apart.min() > 0.06


def test_oklab_there_and_back():
    colours = np.random.default_rng(0).random((100, 3))
    np.testing.assert_allclose(from_oklab(to_oklab(colours)), colours, atol=1e-6)
    np.testing.assert_allclose(to_oklab(np.ones(3)), [1, 0, 0], atol=1e-4)


def test_heat_is_painted_from_dark_to_light():
    painted = paint_heat(np.array([[-1.0, 0.0], [1.0, 7.0]]))
    assert painted.shape == (2, 2, 3)
    assert (painted[0] == heat_colours()[0]).all()
    assert (painted[1] == heat_colours()[255]).all()
