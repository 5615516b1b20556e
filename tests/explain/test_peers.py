"""Beside the packages that people know: the same maps as pytorch-grad-cam's and captum's."""

import numpy as np
import pytest
import torch
from torch import nn

from vitrail.explain import EXPLAINERS
from vitrail.explain.gradients import IntegratedGradients, Saliency, integrated
from vitrail.values import Batch

SIZE, ABOUT = (64, 64), 1
SWIN = "swin_tiny_patch4_window7_224"
VIT, MEAN = {"patch": 16}, {"patch": 16, "pool": "mean", "registers": 2}
THEIRS = {"cam": "GradCAM", "grad-cam": "GradCAM", "grad-cam++": "GradCAMPlusPlus", "layer-cam": "LayerCAM"}
"""Their names. They have no CAM; where a network ends in average pooling, Grad-CAM is the same."""


class Logits(nn.Module):
    """A model of ours as others want it: pictures in, logits out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixels):
        return self.model.outputs(Batch(keys=[""] * len(pixels), pixels={"image": pixels}))


def tokens(output, height=4, width=4):
    """Lay tokens on their grid as the README of pytorch-grad-cam does."""
    patches = output[:, output.size(1) - height * width :, :]
    result = patches.reshape(output.size(0), height, width, output.size(2))
    return result.transpose(2, 3).transpose(1, 2)


def channels_first(output):
    return output.permute(0, 3, 1, 2)


WHERE = {
    "vit": ("", VIT, None, lambda net: net.encoder.blocks[-1].around_mix.norm, tokens),
    "vit, a block": ("", VIT, "blocks.0", lambda net: net.encoder.blocks[0], tokens),
    "vit, its mean": ("", MEAN, None, lambda net: net.encoder.norm, tokens),
    "timm's vit": ("test_vit", {}, None, lambda net: net.net.blocks[-1].norm1, tokens),
    "swin": (SWIN, {}, "final", lambda net: net.net.norm, channels_first),
    "swin, a stage": (SWIN, {}, "layers.2", lambda net: net.net.layers[2], channels_first),
    "resnet": ("test_resnet", {}, "final", lambda net: net.net.layer4, None),
    "resnet, a stage": ("test_resnet", {}, "layer2", lambda net: net.net.layer2, None),
}
POOLED = ["vit, its mean", "swin", "resnet"]


def side_by_side(make, pictures, method, where, louder=1):
    """Return our maps and pytorch-grad-cam's on the feature grid, both scaled as it scales."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    name, switches, layer, module, lay = WHERE[where]
    model, batch = make(name, SIZE, **switches), pictures(SIZE)
    model.head.layers[-1].weight.data *= louder
    heats = EXPLAINERS[method](**({} if layer is None or method == "cam" else {"layer": layer}))(
        model, batch, ABOUT
    )
    ours = scale_cam_image(np.stack([heat.values for heat in heats]))
    kind, targets = getattr(pytorch_grad_cam, THEIRS[method]), [ClassifierOutputTarget(ABOUT)] * len(heats)
    with kind(Logits(model), [module(model.backbone)], reshape_transform=lay) as cam:
        cam.get_target_width_height = lambda _: ours.shape[:0:-1]  # it enlarges its maps to the picture
        theirs = cam(batch.pixels["image"], targets)
    assert (theirs.max((1, 2)) > 0.9).all(), "some map is empty"
    return ours, theirs


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam"])
@pytest.mark.parametrize("where", WHERE)
def test_the_maps_of_pytorch_grad_cam(make, pictures, method, where):
    ours, theirs = side_by_side(make, pictures, method, where)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("where", POOLED)
def test_cam_is_grad_cam_where_a_network_ends_in_average_pooling(make, pictures, where):
    ours, theirs = side_by_side(make, pictures, "cam", where)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("where", ["resnet", "resnet, a stage"])
def test_grad_cam_plus_plus_after_a_relu(make, pictures, where):
    """Of signed maps ours differs on purpose, and theirs adds 1e-6 to squared gradients: so large ones."""
    ours, theirs = side_by_side(make, pictures, "grad-cam++", where, louder=1e4)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- captum


@pytest.fixture(params=["vit", "vit, its mean", "timm's vit", "swin", "resnet"])
def asked(request, make, pictures):
    """Return a model, a batch, and its pictures as captum wants them."""
    name, switches, *_ = WHERE[request.param]
    batch = pictures(SIZE)
    return make(name, SIZE, **switches), batch, batch.pixels["image"].clone().requires_grad_()


def alike(heats, expected):
    for heat, each in zip(heats, expected.detach().numpy(), strict=True):
        np.testing.assert_allclose(heat.values / each.max(), each / each.max(), rtol=0, atol=1e-5)


def test_the_saliency_of_captum(asked):
    from captum import attr

    model, batch, pixels = asked
    theirs = attr.Saliency(Logits(model)).attribute(pixels, target=ABOUT, abs=True)
    alike(Saliency()(model, batch, ABOUT), theirs.amax(1))


def test_the_integrated_gradients_of_captum(asked):
    from captum import attr

    model, batch, pixels = asked
    theirs = attr.IntegratedGradients(Logits(model)).attribute(
        pixels, baselines=0, target=ABOUT, n_steps=16, method="riemann_middle", internal_batch_size=2
    )
    ours, _ = integrated(model, batch, ABOUT, 16)
    scale = theirs.abs().max()
    torch.testing.assert_close(ours / scale, theirs.float() / scale, rtol=0, atol=1e-5)
    alike(IntegratedGradients(steps=16)(model, batch, ABOUT), theirs.sum(1).abs())
