"""Gradients by pixels beside their papers' formulas, from plain backward passes."""

import numpy as np
import pytest
import torch

from vitrail.errors import UsageError
from vitrail.explain.gradients import IntegratedGradients, Saliency, SmoothGrad, integrated

NETWORKS = ["", "test_resnet", "swin_tiny_patch4_window7_224"]


def gradient(model, batch, pixels, about):
    pixels = pixels.clone().requires_grad_()
    model.score(batch.with_(pixels={"image": pixels}), about).sum().backward()
    model.zero_grad()
    return pixels.grad


@pytest.mark.parametrize("name", NETWORKS)
def test_saliency_is_the_strongest_channel(name, make, pictures):
    model, batch = make(name), pictures()
    expected = gradient(model, batch, batch.pixels["image"], "b").abs().amax(1)
    for heat, each in zip(Saliency()(model, batch, "b"), expected, strict=True):
        np.testing.assert_allclose(heat.values / each.max().item(), each / each.max(), atol=1e-5)


def test_smoothgrad_is_the_mean_over_noise(make, pictures):
    model, batch = make(), pictures()
    pixels, chance, total = batch.pixels["image"], torch.Generator().manual_seed(3), 0
    for _ in range(4):
        noise = torch.randn(3, 32, 32, generator=chance)
        spread = torch.stack([0.2 * (each.max() - each.min()) * noise for each in pixels])
        total = total + gradient(model, batch, pixels + spread, "b")
    expected = (total / 4).abs().amax(1)
    heats = SmoothGrad(samples=4, noise=0.2, seed=3)(model, batch, "b")
    for heat, each in zip(heats, expected, strict=True):
        np.testing.assert_allclose(heat.values / each.max().item(), each / each.max(), atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_integrated_gradients_are_the_sum_along_the_way(name, make, pictures):
    model, batch = make(name), pictures()
    pixels = batch.pixels["image"]
    total = sum(gradient(model, batch, pixels * (k - 0.5) / 5, "b") for k in range(1, 6))
    expected = pixels * total / 5
    found, _ = integrated(model, batch, "b", 5)
    torch.testing.assert_close(
        found / expected.abs().max(), expected / expected.abs().max(), atol=1e-5, rtol=0
    )
    heats, expected = IntegratedGradients(steps=5)(model, batch, "b"), expected.sum(1).abs()
    for heat, each in zip(heats, expected, strict=True):
        np.testing.assert_allclose(heat.values / each.max().item(), each / each.max(), atol=1e-5)


def test_what_pixels_add_comes_to_the_score(make, pictures):
    model, batch = make(), pictures()
    grey = batch.with_(pixels={"image": torch.zeros_like(batch.pixels["image"])})
    found, about = integrated(model, batch, None, 200)
    difference = model.score(batch, about) - model.score(grey, about)
    torch.testing.assert_close(found.sum((1, 2, 3)), difference, rtol=1e-2, atol=1e-3)


def test_numbers_that_cannot_be():
    with pytest.raises(UsageError, match=r"0 samples with noise of 0\.15: take 1 or more"):
        SmoothGrad(samples=0)
    with pytest.raises(UsageError, match="0 steps: take 1 or more"):
        IntegratedGradients(steps=0)
