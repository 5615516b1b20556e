"""A picture as a grid of places: heat on it, which of them come first, and maps that know no model."""

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitrail.data.chance import key, uniform
from vitrail.values import Size


def grid_of(size: Size, cells: int) -> Size:
    """Return rows and columns of a canvas with so many cells, or its pixels, along its longer side."""
    longer = max(size)
    along = min(cells, longer)
    height, width = (max(1, round(along * side / longer)) for side in size)
    return height, width


def on_grid(values: np.ndarray, grid: Size) -> np.ndarray:
    """Return a map ``h w`` on another grid over the same canvas, float32: even between the middles of cells.

    On a coarser grid a cell has the mean of what it covers.
    """
    whole = torch.from_numpy(np.ascontiguousarray(values, np.float32))[None, None]
    return F.interpolate(whole, grid, mode="bilinear", antialias=True)[0, 0].numpy()


def ranks(values: np.ndarray, seed: int) -> np.ndarray:
    """Return for each place which share of them comes before it (float32, from 0), the highest value first.

    Among equals chance decides: in reading order they would make up a map of their own.
    """
    chance = uniform(seed, 0, np.arange(values.size), "equal places")
    order = np.lexsort((chance, -values.ravel()))
    found = np.empty(values.size, np.float32)
    found[order] = np.arange(values.size) / values.size
    return found.reshape(values.shape)


def spread(cells: Tensor, size: Size) -> Tensor:
    """Return each pixel's value of cells ``... h w`` over a canvas of ``size``."""
    for axis, side in zip((-2, -1), size, strict=True):
        places = torch.arange(side, device=cells.device) * cells.shape[axis] // side
        cells = cells.index_select(axis, places)
    return cells


def random_map(pixels: Float[Tensor, "c h w"], grid: Size, seed: int = 0) -> np.ndarray:
    """Return a map at random, float32 ``grid``: another one for each picture, and always the same."""
    own = key(seed, zlib.crc32(pixels.float().cpu().contiguous().numpy().tobytes()))
    return uniform(own, 0, np.arange(grid[0] * grid[1]), "random map").reshape(grid).astype(np.float32)


def edge_map(pixels: Float[Tensor, "c h w"]) -> np.ndarray:
    """Return how strong a picture's edges are, float32 ``h w``: Sobel's gradient of the channels' mean."""
    grey = F.pad(pixels.float().mean(dim=0)[None, None], (1, 1, 1, 1), mode="replicate")
    slope = grey.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    across, down = F.conv2d(grey, torch.stack([slope, slope.mT])[:, None])[0]
    return torch.hypot(across, down).cpu().numpy()
