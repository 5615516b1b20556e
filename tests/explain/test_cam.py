"""The CAM family beside its papers' formulas, written out for each place and each map."""

import numpy as np
import pytest
import torch

from vitrail.errors import UsageError
from vitrail.explain import EXPLAINERS, Versus, layers_of
from vitrail.explain.cam import Cam, GradCam, GradCamPlusPlus, LayerCam, activation
from vitrail.heads.linear import LinearConfig
from vitrail.values import Batch


def on_grid(output, size=(4, 4)):
    """Lay what a ViT with one class token, a Swin or a ResNet gives on its grid."""
    if output.ndim == 3:
        return output[:, output.shape[1] - size[0] * size[1] :].mT.unflatten(2, size)
    return output.movedim(3, 1) if output.shape[-1] == 768 else output


def by_hand(model, module, batch, about):
    """Return a module's output on its grid and the gradient by it, from a plain backward pass."""
    kept = []

    def keep(_, __, output):
        output.retain_grad()
        kept.append(output)

    handle = module.register_forward_hook(keep)
    model.score(batch, about).sum().backward()
    handle.remove()
    values, gradients = on_grid(kept[0].detach()), on_grid(kept[0].grad)
    model.zero_grad()
    return values, gradients


def grad_cam(values, gradients):
    weights = gradients.mean((2, 3))
    return sum(weights[:, k, None, None] * values[:, k] for k in range(values.shape[1])).relu()


def grad_cam_plus_plus(values, gradients):
    maps = 0
    for k in range(values.shape[1]):
        a, g = values[:, k].double(), gradients[:, k].double()
        share = g**2 / (2 * g**2 + a.relu().sum((1, 2), keepdim=True) * g**3)
        share = torch.where(g != 0, share, 0)
        maps = maps + (share * g.relu()).sum((1, 2), keepdim=True) * a
    return maps.relu()


def layer_cam(values, gradients):
    return (gradients.relu() * values).sum(1).relu()


FORMULAS = {GradCam: grad_cam, GradCamPlusPlus: grad_cam_plus_plus, LayerCam: layer_cam}
WHERE = [
    ("", None, lambda net: net.encoder.blocks[-1].around_mix.norm),
    ("", "blocks.0", lambda net: net.encoder.blocks[0]),
    ("test_resnet", "final", lambda net: net.net.layer4),
    ("test_resnet", "layer3", lambda net: net.net.layer3),
    ("swin_tiny_patch4_window7_224", "final", lambda net: net.net.norm),
    ("test_efficientnet", "final", lambda net: net.net.bn2),
]


@pytest.mark.parametrize("method", FORMULAS, ids=lambda method: method.name)
@pytest.mark.parametrize(("name", "layer", "module"), WHERE)
def test_equal_to_the_formula(method, name, layer, module, make, pictures):
    size = (64, 64) if name else (32, 32)
    model, batch = make(name, size), pictures(size)
    heats = method(layer=layer)(model, batch, "b")
    expected = FORMULAS[method](*by_hand(model, module(model.backbone), batch, "b"))
    scale = expected.abs().max()
    assert scale > 0
    for heat, each in zip(heats, expected, strict=True):
        np.testing.assert_allclose(heat.values / scale.item(), each / scale, atol=1e-5)


POOLED = [
    ("test_resnet", {}),
    ("test_efficientnet", {}),
    ("swin_tiny_patch4_window7_224", {}),
    ("", {"pool": "mean", "registers": 2}),
]


@pytest.mark.parametrize(("name", "switches"), POOLED)
def test_the_mean_of_a_class_activation_map_is_the_score(name, switches, make, pictures):
    size = (64, 64)
    model, batch = make(name, size, **switches), pictures(size)
    maps, about = activation(model, batch, None)
    scores, last = model.score(batch, about), model.head.layers[-1]
    bias = last.bias[[model.head.names.index(each) for each in about]]
    torch.testing.assert_close(maps.mean((1, 2)) + bias, scores, rtol=1e-4, atol=1e-5)
    net = getattr(model.backbone, "net", None)
    pixels = batch.pixels["image"]
    final = on_grid(net.forward_features(pixels)) if net else model.features(batch).levels[-1]
    expected = torch.einsum("bdhw,d->bhw", final, last.weight[1]).relu().detach().numpy()
    for heat, each in zip(Cam()(model, batch, "b"), expected, strict=True):
        np.testing.assert_allclose(heat.values, each, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize(("name", "switches"), POOLED)
def test_grad_cam_of_what_is_pooled_is_cam_over_the_number_of_places(name, switches, make, pictures):
    model, batch = make(name, (64, 64), **switches), pictures((64, 64))
    for cam, grad in zip(Cam()(model, batch, "b"), GradCam(layer="final")(model, batch, "b"), strict=True):
        assert cam.values.max() > 0
        np.testing.assert_allclose(
            grad.values * cam.values.size, cam.values, rtol=1e-4, atol=1e-5 * cam.values.max()
        )


def test_one_rather_than_another(make, pictures):
    model, batch = make("test_resnet"), pictures()
    a, b, both = (activation(model, batch, about)[0] for about in ("a", "b", Versus("a", "b")))
    torch.testing.assert_close(both, a - b, rtol=1e-4, atol=1e-5)
    (answer, _), other = model.answer(batch), model.answer(batch)[0].top()[-1][0]
    assert GradCam()(model, batch, Versus(None, other))[0].about == Versus(answer.name, other)
    with pytest.raises(UsageError, match="'a' rather than 'a': name two that differ"):
        Versus("a", "a")


@pytest.mark.parametrize(
    ("name", "switches"),
    [
        ("", {}),
        ("", {"pool": "attention"}),
        ("", {"pool": "mean", "final_norm": "summary"}),
        ("", {"pool": "mean", "head": LinearConfig(hidden=(8,))}),
        ("mobilenetv4_conv_small_035", {}),
        ("test_convnext", {}),
    ],
)
def test_networks_that_end_otherwise_are_sent_to_grad_cam(name, switches, make, pictures):
    model = make(name, **switches)
    with pytest.raises(
        UsageError, match="does not end in average pooling and one linear layer: use grad-cam"
    ):
        Cam()(model, pictures(), None)
    assert GradCam()(model, pictures(), None)[0].values.ndim == 2


def test_layers_have_names(make, pictures):
    blocks = [f"blocks.{index}{part}" for index in range(3) for part in (".norm", "")]
    assert layers_of(make(pool="mean")) == ["enter", *blocks, "final"]
    assert layers_of(make()) == ["enter", *blocks[:-1]]  # the class token looks no more at what comes then
    assert layers_of(make(norm_place="post")) == ["enter", "blocks.0", "blocks.1"]
    assert layers_of(make("test_vit"))[-2:] == ["blocks.4", "blocks.5.norm1"]
    resnet = make("test_resnet")
    assert layers_of(resnet) == ["act1", "layer1", "layer2", "layer3", "layer4", "final"]
    with pytest.raises(
        UsageError, match=r"no layer 'layer5'. Did you mean layer.*has act1, layer1, .*, final\.$"
    ):
        GradCam(layer="layer5")(resnet, pictures(), None)
    resnet.backbone = torch.nn.Identity()
    with pytest.raises(UsageError, match=r"names no layers: explain it by saliency or occlusion"):
        GradCam()(resnet, pictures(), None)


@pytest.mark.parametrize(
    "model",
    ["test_vit", {"norm_place": "post"}, {"pool": "class+mean"}, {"pool": "class+distilled"}, {"depth": 1}],
    ids=str,
)
def test_a_layer_is_found_in_every_kind_of_transformer(model, make, pictures):
    model = make(model) if isinstance(model, str) else make(**model)
    for name in layers_of(model):
        assert EXPLAINERS["layer-cam"](layer=name)(model, pictures(), None)[0].values.ndim == 2
    assert EXPLAINERS["layer-cam"]()(model, pictures(), None)[0].values.any()


def test_padding_and_enlarging_do_not_reach_the_map(make, pictures):
    """Pictures are padded to whole patches, and the map is cut to what lies on them."""
    model = make("test_vit", (48, 48))
    assert GradCam()(model, pictures((50, 64)), None)[0].values.shape == (4, 4)
    swin = make("swin_tiny_patch4_window7_224", (32, 32))
    assert GradCam(layer="final")(swin, pictures((30, 40)), None)[0].values.shape == (1, 2)


@pytest.mark.parametrize(
    ("size", "grid"), [((128, 160), (4, 5)), ((96, 96), (6, 6)), ((64, 32), (8, 4)), ((32, 32), (4, 4))]
)
def test_the_layer_that_is_found_still_says_where(size, grid, make, pictures):
    """The stride of the last map is 32: of small pictures it would be a cell or two."""
    resnet, batch = make("test_resnet", size), pictures(size)
    assert GradCam()(resnet, batch, None)[0].values.shape == grid
    vit = make("", size, patch=16)
    assert GradCam()(vit, batch, None)[0].values.shape == (
        size[0] // 16,
        size[1] // 16,
    )  # the finest there is
    if size == (32, 32):
        with pytest.raises(UsageError, match="has one cell on these pictures: use layer-cam"):
            Cam()(resnet, batch, None)


def test_nothing_is_computed_backwards_before_the_last_map(make, pictures):
    model, batch, kept = make("test_resnet"), pictures(), []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda each: kept.append(each.numel()) or each, lambda x: x
    ):
        GradCam(layer="final")(model, batch, None)
    assert sum(kept) < 10_000  # the head's only: the network's would be a hundred thousand


def test_merged_tokens_are_told_apart_again(make, pictures):
    model = make()
    before = GradCam()(model, pictures(), "a")[0].values
    model.merge(4)
    np.testing.assert_array_equal(GradCam()(model, pictures(), "a")[0].values, before)
    assert model.backbone.merge == 4


def test_volumes_are_refused(make):
    batch = Batch(keys=["x"], pixels={"image": torch.randn(1, 3, 4, 16, 16)})
    with pytest.raises(UsageError, match="heat maps are for pictures"):
        GradCam()(make(), batch, None)
