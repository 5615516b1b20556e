import pytest
import torch

from vitrail.backbones import configure
from vitrail.heads.linear import LinearConfig
from vitrail.models.anatomy import anatomy
from vitrail.models.vision import Vision


def model(name, size, classes=10):
    torch.manual_seed(0)
    backbone = configure(name).build(size, 3)
    return Vision(backbone, LinearConfig().build(backbone.width, [str(i) for i in range(classes)], False))


def flops_by_hand(tokens, width, depth, mlp, patch_values, classes):
    """Count multiply-adds of a ViT's matrices as two each."""
    block = (
        4 * width * width + 2 * width * mlp + 2 * tokens * width
    )  # projections, MLP, both attention products
    return 2 * ((tokens - 1) * patch_values * width + depth * tokens * block + width * classes)


def test_the_arithmetic_of_a_vit_is_the_papers():
    vit = model("vit-s16", (224, 224), 1000)
    whole = anatomy(vit, (224, 224), 3)
    assert whole.flops == flops_by_hand(197, 384, 12, 1536, 768, 1000)
    assert whole.flops / 2 == pytest.approx(4.6e9, rel=0.01), (
        "Touvron et al. 2020 say 4.6 GFLOPs, counting one"
    )
    assert whole.parameters == sum(parameter.numel() for parameter in vit.parameters())
    assert whole.memory == 4 * whole.parameters


def test_layers_add_up_and_name_their_shapes():
    whole = anatomy(model("vit-pico8", (32, 48)), (32, 48), 3)
    layers = {layer.name: layer for layer in whole.layers}
    assert layers["backbone.embed"].shape == (64, 4, 6)
    assert layers["backbone.positions"].shape == (24, 64)
    assert layers["backbone"].shape == (64,)
    assert layers["head"].shape == (10,)
    blocks = [layer for layer in whole.layers if layer.kind == "Block"]
    assert len(blocks) == 6
    assert {block.depth for block in blocks} == {2}
    assert blocks[0].memory == 4 * 64 * blocks[0].shape[0]
    assert sum(block.flops for block in blocks) == layers["backbone.encoder"].flops
    tops = [layer for layer in whole.layers if layer.depth == 0]
    assert sum(layer.parameters for layer in tops) == whole.parameters
    assert sum(layer.flops for layer in tops) == whole.flops


def test_a_convolutional_network_and_a_bare_backbone():
    resnet = model("resnet10t", (64, 64))
    whole = anatomy(resnet, (64, 64), 3)
    layers = {layer.name: layer for layer in whole.layers}
    assert layers["backbone.net.layer4"].shape == (512, 2, 2)
    assert layers["backbone.net"].flops == layers["backbone"].flops > 0
    assert anatomy(resnet.backbone, (64, 64), 3).flops == layers["backbone"].flops


def test_the_model_itself_is_left_alone():
    vit = model("vit-pico8", (32, 32))
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    vit.train()
    anatomy(vit, (32, 32), 3)
    assert vit.training
    assert not vit.backbone._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())
