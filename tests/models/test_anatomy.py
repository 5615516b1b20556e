import pytest
import timm
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from vitrail.backbones import configure
from vitrail.backbones.costs import read_costs
from vitrail.backbones.vit import ViTConfig
from vitrail.heads.linear import LinearConfig
from vitrail.models.anatomy import Layer, anatomy, fold, walk
from vitrail.models.vision import Vision
from vitrail.values import Batch


def model(name, size, classes=10):
    torch.manual_seed(0)
    backbone = configure(name).build(size, 3)
    return Vision(backbone, LinearConfig().build(backbone, [str(i) for i in range(classes)], False))


def layers_of(whole):
    return {name: layer for name, _, layer in walk(whole.layers)}


def flops_by_hand(tokens, width, depth, mlp, patch_values, classes):
    """Count multiply-adds of a ViT's matrices as two each."""
    block = (
        4 * width * width + 2 * width * mlp + 2 * tokens * width
    )  # projections, MLP, both attention products
    return 2 * ((tokens - 1) * patch_values * width + depth * tokens * block + width * classes)


@pytest.mark.parametrize(
    ("name", "width", "depth", "mlp", "published"),
    [
        ("vit-s16", 384, 12, 1536, 4.6),  # Touvron et al. 2020 and Touvron et al. 2022, who count one
        ("vit-b16", 768, 12, 3072, 17.5),
        ("vit-l16", 1024, 24, 4096, 61.6),
    ],
)
def test_the_arithmetic_of_a_vit_is_the_papers(name, width, depth, mlp, published):
    with torch.device("meta"):
        vit = model(name, (224, 224), 1000)
    whole = anatomy(vit, (224, 224), 3)
    assert whole.flops == flops_by_hand(197, width, depth, mlp, 768, 1000)
    assert whole.flops / 2e9 == pytest.approx(published, rel=0.01)
    assert whole.parameters == sum(parameter.numel() for parameter in vit.parameters())
    assert whole.weights == 4 * whole.parameters


# Of fvcore 0.1.5.post20221221, for one picture of 224x224 and without a classifier: the multiply-adds of
# matrices, convolutions and attention, and all that it counts, norms and pooling too. It knows no fused
# attention: timm's networks ran without, and for ours it was told tokens x tokens x width, twice a layer.
FVCORE = {
    "vit-s16": (4_598_498_304, 4_607_954_304),
    "vit-b16": (17_563_060_224, 17_581_972_224),
    "vit-l16": (61_553_688_576, 61_603_111_936),
    "resnet50": (4_087_136_256, 4_109_464_576),
    "swin_tiny_patch4_window7_224": (4_489_798_656, 4_508_426_496),
    "convnext_tiny": (4_454_763_264, 4_469_669_376),
}


@pytest.mark.parametrize("name", FVCORE)
def test_arithmetic_as_fvcore_counts_it(name):
    with torch.device("meta"):
        backbone = configure(name).build((224, 224), 3)
    flops = anatomy(backbone, (224, 224), 3).flops
    products, everything = FVCORE[name]
    assert flops == 2 * products
    assert flops == pytest.approx(2 * everything, rel=0.01)


@pytest.mark.parametrize("name", ["vit-pico8", "test_resnet", "test_convnext"])
def test_activations_are_what_torch_keeps(name):
    net, pixels = model(name, (64, 96)).eval(), torch.zeros(1, 3, 64, 96)
    weights = {tensor.untyped_storage() for tensor in (*net.parameters(), *net.buffers())}
    kept = set()

    def keep(tensor):
        kept.add(tensor.untyped_storage())
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = net.outputs(Batch(keys=[""], pixels={"image": pixels}))
    assert answer.requires_grad
    real = sum(storage.nbytes() for storage in kept - weights)
    whole = anatomy(net, (64, 96), 3)
    assert whole.activations == pytest.approx(real, rel=0.02)
    assert sum(layer.memory for layer in whole.layers) <= whole.activations


def test_layers_add_up_and_name_their_shapes():
    whole = anatomy(model("vit-pico8", (32, 48)), (32, 48), 3)
    layers = layers_of(whole)
    assert layers["backbone.embed"].shape == (64, 4, 6)
    assert layers["backbone.positions"].shape == (24, 64)
    assert layers["backbone"].shape == (64,)
    assert layers["head"].shape == (10,)
    blocks = [layer for layer in layers.values() if layer.kind == "Block"]
    assert len(blocks) == 6
    assert sum(block.flops for block in blocks) == layers["backbone.encoder"].flops
    tops = [layer for name, depth, layer in walk(whole.layers) if depth == 0]
    assert sum(layer.flops for layer in tops) == whole.flops
    for name in ("vit-s16", "test_vit", "test_resnet"):
        whole = anatomy(configure(name).build((32, 48), 3), (32, 48), 3)
        assert sum(layer.parameters for layer in whole.layers) == whole.parameters
        for _, _, layer in walk(whole.layers):
            if layer.parts:
                assert sum(part.parameters for part in layer.parts) == layer.parameters, layer.name
                assert sum(part.flops for part in layer.parts) <= layer.flops, layer.name


def test_parameters_beside_modules_are_named():
    layers = layers_of(anatomy(configure("test_vit").build((32, 32), 3), (32, 32), 3))
    assert layers["net.cls_token"].kind == "Parameter"
    assert layers["net.pos_embed"].shape == (1, 5, 64)


def test_layers_that_are_alike_stand_as_one():
    whole = anatomy(configure("vit-pico8").build((32, 32), 3), (32, 32), 3)
    folded = {name: layer for name, _, layer in walk(fold(whole.layers))}
    blocks = folded["encoder.blocks.0-5"]
    assert (blocks.times, blocks.parameters) == (6, layers_of(whole)["encoder.blocks.3"].parameters)
    assert folded["encoder.blocks.0-5.mix.qkv"].times == 1
    assert len(folded) < len(layers_of(whole)) / 2


def test_only_neighbours_are_folded():
    def layer(name, flops=1):
        return Layer(name=name, kind="Linear", shape=(1,), parameters=1, flops=flops, memory=1)

    names = ["0", "1", "3", "a.0", "a.1", "a.2", "fc1", "fc2", "b.7"]
    assert [(each.name, each.times) for each in fold([layer(name) for name in names])] == [
        ("0-1", 2), ("3", 1), ("a.0-2", 3), ("fc1", 1), ("fc2", 1), ("b.7", 1)
    ]  # fmt: skip
    assert [each.name for each in fold([layer("0"), layer("1", flops=2), layer("2", flops=2)])] == [
        "0",
        "1-2",
    ]


def test_a_module_called_twice_counts_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(3, 3, 1)

        def forward(self, pixels):
            return self.inner(self.inner(pixels))

    whole = anatomy(nn.Sequential(Twice(), nn.Conv2d(3, 1, 1)), (4, 5), 3)
    first, second = whole.layers
    assert (first.flops, second.flops) == (2 * 2 * 9 * 20, 2 * 3 * 20)
    assert (first.parameters, first.shape, second.shape) == (12, (3, 4, 5), (1, 4, 5))


def test_experts_count_as_those_that_a_token_takes():
    dense, sparse = (
        anatomy(ViTConfig(size="pico", patch=8, experts=experts).build((64, 64), 3), (64, 64), 3)
        for experts in (0, 4)
    )
    routers = 3 * 2 * 65 * 64 * 4
    assert sparse.flops == dense.flops + routers
    assert sparse.parameters > 1.5 * dense.parameters


def test_a_convolutional_network_and_a_bare_backbone():
    resnet = model("resnet10t", (64, 64))
    whole = anatomy(resnet, (64, 64), 3)
    layers = layers_of(whole)
    assert layers["backbone.net.layer4"].shape == (512, 2, 2)
    assert layers["backbone"].flops > 0
    bare = anatomy(resnet.backbone, (64, 64), 3)
    assert bare.flops == layers["backbone"].flops
    assert [layer.name for layer in bare.layers][:2] == ["net.conv1", "net.bn1"]


@pytest.mark.slow
@pytest.mark.parametrize("module", sorted({*timm.list_modules()} - {"gemma4_vit"}))  # it cannot be tried
def test_a_network_of_each_of_timms_modules_costs_what_the_table_says(module):
    costs = read_costs()
    name = min(timm.list_models(module=module), key=lambda name: costs[name].parameters)
    cost = costs[name]
    with torch.device("meta"):
        backbone = configure(name).build(cost.size, 3)
    whole = anatomy(backbone, cost.size, 3)
    assert (whole.parameters, whole.flops) == (cost.parameters, cost.flops)
    assert whole.activations > 0


def test_the_model_itself_is_left_alone():
    vit = model("vit-pico8", (32, 32))
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    vit.train()
    anatomy(vit, (32, 32), 3)
    assert vit.training
    assert not vit.backbone._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())
