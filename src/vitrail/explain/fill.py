"""What takes the place of pixels that are taken away, so that a model misses them and no more."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

CYCLES, ROUNDS = 2, 2
"""Cycles on each scale, and rounds in them on the way down and on the way up. The fill of a photograph that
lacks half of its places is then within a twentieth of its contrast of the exact one."""
AROUND = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
"""How much each neighbour of a missing pixel counts."""
NOISE = 0.01
"""The deviation of the noise on what is filled in, in normalised pixels."""


def blank(pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Return pictures of nothing: the mean colour, which is 0 once normalised."""
    return torch.zeros_like(pixels)


def blurred(pixels: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Return pictures blurred until they show colours and no things: by a tenth of their longer side."""
    deviation = max(pixels.shape[2:]) / 10
    reach = max(1, round(3 * deviation))
    away = torch.arange(-reach, reach + 1, device=pixels.device, dtype=pixels.dtype)
    weights = torch.exp(-((away / deviation) ** 2) / 2)
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    flat = pixels.flatten(0, 1)[:, None]
    across = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), weights)
    down = F.conv2d(F.pad(across, (0, 0, reach, reach), mode="replicate"), weights.mT)
    return down[:, 0].view_as(pixels)


def filled(
    pixels: Float[Tensor, "b c h w"], missing: Bool[Tensor, "b h w"], seed: int = 0
) -> Float[Tensor, "b c h w"]:
    """Return pictures whose missing pixels are the weighted means of their neighbours, and a little noise.

    Rong et al. 2022, "A consistent and efficient evaluation strategy for attribution methods" (ROAD): a hole
    with an outline would tell the model its shape, and one with flat colours is like no photograph. All means
    hold at once, which is a system of linear equations; they are solved on all scales, from coarse to fine.
    The noise is the same for every picture of a size.
    """
    solved = _solve(pixels.flatten(0, 1)[:, None], missing.repeat_interleave(pixels.shape[1], 0)[:, None])
    chance = torch.Generator().manual_seed(seed)
    noise = NOISE * torch.randn(pixels.shape[1:], generator=chance).to(pixels)
    return torch.where(missing[:, None], solved.view_as(pixels) + noise, pixels)


def _solve(values: Float[Tensor, "n 1 h w"], missing: Bool[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    """Begin with what is found on half the scale, and let cycles make it right."""
    if not missing.any():
        return values
    known = (~missing).to(values)
    values = values * known
    if min(values.shape[2:]) > 1:
        shares = F.avg_pool2d(known, 2, ceil_mode=True)
        coarse = F.avg_pool2d(values, 2, ceil_mode=True) / shares.clamp(min=1e-6)
        values = torch.where(missing, _twice(_solve(coarse, shares == 0), values), values)
    for _ in range(CYCLES):
        values = _cycle(values, missing, torch.zeros_like(values))
    return values


def _cycle(
    values: Float[Tensor, "n 1 h w"], missing: Bool[Tensor, "n 1 h w"], right: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, "n 1 h w"]:
    """Return values nearer to where each missing one is its neighbours' mean and ``right``: one V-cycle.

    Briggs, Henson and McCormick 2000, "A multigrid tutorial". What a few rounds leave is smooth, so it is
    found on half the scale.
    """
    weights = values.new_tensor(AROUND)[None, None]
    total = F.conv2d(torch.ones_like(values[:1]), weights, padding=1).clamp(
        min=1e-6
    )  # less than 1 at the border

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(values, weights, padding=1) / total

    for _ in range(ROUNDS):
        values = torch.where(missing, mean(values) + right, values)
    below = F.max_pool2d((~missing).to(values), 2, ceil_mode=True) == 0
    if min(values.shape[2:]) > 1 and below.any():
        left = (mean(values) + right - values) * missing
        # On half the scale a value is four times as far from its neighbours' mean.
        coarse = 4 * F.avg_pool2d(left, 2, ceil_mode=True)
        found = _cycle(torch.zeros_like(coarse), below, coarse * below)
        values = values + _twice(found, values) * missing
    for _ in range(ROUNDS):
        values = torch.where(missing, mean(values) + right, values)
    return values


def _twice(coarse: Float[Tensor, "n 1 H W"], like: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    fine = F.interpolate(coarse, scale_factor=2, mode="bilinear")
    return fine[..., : like.shape[2], : like.shape[3]]
