"""Whether outlines lie where they should: pixels of one near pixels of the other."""

import numpy as np

NEAR = 0.0075
"""How far apart they may be, as a share of the picture's diagonal (Perazzi et al. 2016, "DAVIS")."""
SQUARE = np.ones((3, 3), bool)


def outline_hits(said: np.ndarray, true: np.ndarray, known: np.ndarray) -> tuple[int, int, int, int]:
    """Return of the outline that was answered the pixels, and those near the true one; and the reverse.

    All are bool ``h w``; a pixel is of the outline if it is inside and not all of its eight neighbours are.
    Beyond the picture is as its border, and what is near an unknown pixel is not counted: where that is
    inside and where outside nobody knows.
    """
    from scipy import ndimage  # late: it takes a while, and who only learns needs none of it

    reach = max(1.0, NEAR * float(np.hypot(*said.shape)))
    box = _around(said | true, int(np.ceil(reach)) + 2)
    if box is None:
        return 0, 0, 0, 0
    said, true, known = said[box] & known[box], true[box] & known[box], known[box]
    counted = ndimage.binary_erosion(known, SQUARE, border_value=1) if not known.all() else known
    ours, theirs = _outline(said) & counted, _outline(true) & counted
    return (
        int(ours.sum()),
        int((ours & _near(theirs, reach)).sum()),
        int(theirs.sum()),
        int((theirs & _near(ours, reach)).sum()),
    )


def _outline(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    edge: np.ndarray = mask & ~ndimage.binary_erosion(mask, SQUARE, border_value=1)
    return edge


def _near(edge: np.ndarray, reach: float) -> np.ndarray:
    if not edge.any():
        return np.zeros_like(edge)
    from scipy import ndimage

    within: np.ndarray = ndimage.distance_transform_edt(~edge) <= reach
    return within


def _around(mask: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """Return the part of a picture that holds all of a mask, and some pixels around it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )
