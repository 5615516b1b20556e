"""Where the objects of a benchmark's pictures are, from a folder of masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from vitrail.data.decode import decode_upright
from vitrail.data.readers.listing import find_pictures
from vitrail.errors import UsageError
from vitrail.explain.inside import points_inside, share_inside
from vitrail.values import Frame, Size


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Masks by the name of their picture without its ending, as pictures of its size: what is not black."""

    files: Mapping[str, str]

    @classmethod
    def within(cls, folder: str) -> Self:
        """Return the masks in a folder. Raises UsageError when there are none."""
        if not Path(folder).is_dir():
            raise UsageError(f"--masks {folder}: no such folder.")
        files = {Path(file).stem: file for file in find_pictures(folder)}
        if not files:
            raise UsageError(f"--masks {folder}: no pictures in this folder.")
        return cls(files=files)

    def judge(self, name: str, heat: np.ndarray, frame: Frame, canvas: Size) -> tuple[float, float] | None:
        """Return the share of heat inside over even heat's, and the pointing game, of the picture of a name.

        None without a mask, and where nothing of the object is on the canvas. Raises UsageError for a mask of
        another size than its picture.
        """
        stem = Path(name).stem
        if stem not in self.files:
            return None
        mask = decode_upright(self.files[stem], 1).pixels[:, :, 0] > 0
        if mask.shape != frame.size:
            raise UsageError(
                f"{self.files[stem]}: a mask of {mask.shape[0]} x {mask.shape[1]} pixels "
                f"for a picture of {frame.size[0]} x {frame.size[1]}."
            )
        seen = on_canvas(mask, frame, canvas)
        if not seen.any():
            return None
        return share_inside(heat, seen), points_inside(heat, seen)


def on_canvas(mask: np.ndarray, frame: Frame, canvas: Size) -> np.ndarray:
    """Return an original's mask (bool ``H W``) as it lies on the canvas (bool ``h w``)."""
    a, b, c, d, e, f = frame.matrix
    away = np.linalg.inv(np.array([[a, b, c], [d, e, f], [0, 0, 1]]))
    image = Image.fromarray(mask.astype(np.uint8))
    moved = image.transform(
        (canvas[1], canvas[0]), Image.Transform.AFFINE, tuple(away[:2].ravel()), Image.Resampling.NEAREST
    )
    return np.asarray(moved) > 0
