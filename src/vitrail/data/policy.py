"""Random augmentation by a list of operations, with Pillow: torchvision's would double the start-up.

TrivialAugment (Müller and Hutter, 2021): one operation, of any strength. RandAugment (Cubuk et al., 2020):
two operations of strength 9 of 30. Operations and ranges are those of torchvision's `TrivialAugmentWide` and
`RandAugment`, except that TrivialAugment's largest translation is a seventh of the side (32 pixels at 224)
and not 32 pixels of whatever there is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageEnhance, ImageOps

LEVELS = 31
AFFINE = Image.Transform.AFFINE


@dataclass(frozen=True)
class Operation:
    """What is done to a picture (uint8, grey or colour), and how strongly at each policy's highest level.

    What changes ``form`` is done to the picture's mask as well.
    """

    apply: Callable[[Image.Image, float], Image.Image]
    trivial: float = 0.0
    rand: float = 0.0
    signed: bool = False
    form: bool = False


def shear_x(image: Image.Image, slope: float) -> Image.Image:
    """Move each row to the left by ``slope`` pixels for each row above it."""
    return image.transform(image.size, AFFINE, (1, slope, 0, 0, 1, 0))


def shear_y(image: Image.Image, slope: float) -> Image.Image:
    """Move each column up by ``slope`` pixels for each column left of it."""
    return image.transform(image.size, AFFINE, (1, 0, 0, slope, 1, 0))


def translate_x(image: Image.Image, part: float) -> Image.Image:
    """Move the picture to the right by a part of its width."""
    return image.transform(image.size, AFFINE, (1, 0, -round(part * image.width), 0, 1, 0))


def translate_y(image: Image.Image, part: float) -> Image.Image:
    """Move the picture down by a part of its height."""
    return image.transform(image.size, AFFINE, (1, 0, 0, 0, 1, -round(part * image.height)))


OPERATIONS = {
    "identity": Operation(lambda image, _: image),
    "shear x": Operation(shear_x, 0.99, 0.3, signed=True, form=True),
    "shear y": Operation(shear_y, 0.99, 0.3, signed=True, form=True),
    "translate x": Operation(translate_x, 32 / 224, 150 / 331, signed=True, form=True),
    "translate y": Operation(translate_y, 32 / 224, 150 / 331, signed=True, form=True),
    "rotate": Operation(lambda image, degrees: image.rotate(degrees), 135.0, 30.0, signed=True, form=True),
    "brightness": Operation(
        lambda image, by: ImageEnhance.Brightness(image).enhance(1 + by), 0.99, 0.9, signed=True
    ),
    "colour": Operation(lambda image, by: ImageEnhance.Color(image).enhance(1 + by), 0.99, 0.9, signed=True),
    "contrast": Operation(
        lambda image, by: ImageEnhance.Contrast(image).enhance(1 + by), 0.99, 0.9, signed=True
    ),
    "sharpness": Operation(
        lambda image, by: ImageEnhance.Sharpness(image).enhance(1 + by), 0.99, 0.9, signed=True
    ),
    "posterize": Operation(lambda image, bits: ImageOps.posterize(image, 8 - round(bits)), 6.0, 4.0),
    "solarize": Operation(lambda image, part: ImageOps.solarize(image, round(255 * (1 - part))), 1.0, 1.0),
    "autocontrast": Operation(lambda image, _: ImageOps.autocontrast(image)),
    "equalize": Operation(lambda image, _: ImageOps.equalize(image)),
}

_LIST = tuple(OPERATIONS.values())


def trivial(image: Image.Image, draws: Sequence[float], form: bool = False) -> Image.Image:
    """Apply one operation; ``draws`` in [0, 1) choose it, its level and its sign.

    With ``form`` it is applied only if it changes the form: that is for masks.
    """
    operation = _LIST[int(draws[0] * len(_LIST))]
    strength = operation.trivial * int(draws[1] * LEVELS) / (LEVELS - 1)
    if form and not operation.form:
        return image
    return operation.apply(image, -strength if operation.signed and draws[2] < 0.5 else strength)


def randaugment(image: Image.Image, draws: Sequence[float], form: bool = False) -> Image.Image:
    """Apply two operations of level 9; ``draws`` in [0, 1) choose each and its sign; ``form`` as above."""
    for which, sign in zip(draws[0:4:2], draws[1:4:2], strict=True):
        operation = _LIST[int(which * len(_LIST))]
        strength = operation.rand * 9 / (LEVELS - 1)
        if operation.form or not form:
            image = operation.apply(image, -strength if operation.signed and sign < 0.5 else strength)
    return image


POLICIES = {"trivial": trivial, "randaugment": randaugment}
DRAWS = 4
"""How many numbers a policy may use for one picture."""
