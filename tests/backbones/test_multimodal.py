"""Several kinds of pictures as one sequence, any of which may be missing."""

import copy

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from vitrail.backbones.multimodal import Modality, MultimodalConfig
from vitrail.backbones.vit import ViTConfig
from vitrail.errors import UsageError

SIZES = {"rgb": (16, 24), "sar": (12, 12), "ct": (4, 16, 16)}
COUNTS = {"rgb": 6, "sar": 9, "ct": 8}
KINDS = {
    "rgb": Modality(channels=3),
    "sar": Modality(channels=2, patch=4),
    "ct": Modality(channels=1, tubelet=2),
}
SWITCHES = [
    {},
    {"positions": "rotary", "pool": "mean", "registers": 1},
    {"positions": "sine", "pool": "attention", "registers": 2},
    {"positions": "none", "pool": "class+mean", "norm": "rms", "qk_norm": True},
    {"pool": "mean", "norm_place": "post", "feed": "swiglu"},
    {"pool": "mean", "final_norm": "summary", "experts": 2},
]


def small(kinds=KINDS, drop=0.0, **switches):
    torch.manual_seed(0)
    body = ViTConfig(**{"size": "pico", "depth": 2, "patch": 8} | switches)
    config = MultimodalConfig(body=body, modalities=kinds, modality_drop=drop)
    return config.build({role: SIZES[role] for role in kinds})


def pictures(count=3, roles=KINDS):
    torch.manual_seed(1)
    return {role: torch.randn(count, KINDS[role].channels, *SIZES[role]) for role in roles}


def name(switches):
    return "-".join(f"{key}={value}" for key, value in switches.items()) or "default"


@pytest.fixture(scope="module", params=SWITCHES, ids=name)
def network(request):
    return small(**request.param).eval()


def test_features_are_of_the_first_modality_and_tokens_of_each(network):
    pixels = pictures()
    features, tokens = network(pixels), network.tokens(pixels)
    assert features.summary.shape == (3, network.width)
    assert [level.shape for level in features.levels] == [(3, 64, 2, 3)]
    assert (tuple(features.strides), network.channels, network.least) == (network.strides, (64,), (8, 8))
    assert {role: each.values.shape for role, each in tokens.items()} == {
        role: (3, count, 64) for role, count in COUNTS.items()
    }
    torch.testing.assert_close(tokens["rgb"].values.mT.reshape(3, 64, 2, 3), features.levels[0])
    for each in tokens.values():
        torch.testing.assert_close(each.prefix, features.prefix)
        assert each.places.tolist() == [list(range(each.values.shape[1]))] * 3
    alone = network(pixels, levels=False)
    assert (alone.levels, alone.strides) == ((), ())
    torch.testing.assert_close(alone.summary, features.summary)


def test_every_modality_counts_and_none_by_its_place_in_the_mapping(network):
    pixels = pictures()
    expected = network(pixels).summary
    turned = dict(reversed(pixels.items()))
    torch.testing.assert_close(network(turned).summary, expected, rtol=0, atol=0)
    for role in KINDS:
        other = pixels | {role: pixels[role] + 1}
        assert not torch.allclose(network(other).summary, expected, atol=1e-4), role


def test_what_stands_in_the_place_of_a_missing_picture_changes_nothing(network):
    """A sample of a mixed batch is answered as alone, without the modality, whatever fills the tensor."""
    pixels = pictures()
    present = {"sar": torch.tensor([True, False, True]), "rgb": torch.tensor([True, True, False])}
    filled = {role: values.clone() for role, values in pixels.items()}
    filled["sar"][1], filled["rgb"][2] = 1e4, float("nan")
    features = network(filled, present)
    for sample, has in enumerate([["rgb", "sar", "ct"], ["rgb", "ct"], ["sar", "ct"]]):
        own = {role: pixels[role][sample : sample + 1] for role in has}
        alone = network(own, levels="rgb" in has)
        torch.testing.assert_close(features.summary[sample], alone.summary[0], atol=1e-5, rtol=1e-5)
        for level in alone.levels:
            torch.testing.assert_close(features.levels[0][sample], level[0], atol=1e-5, rtol=1e-5)
    everyone = {role: torch.ones(3, dtype=torch.bool) for role in KINDS}
    torch.testing.assert_close(
        network(pixels, everyone).summary, network(pixels).summary, atol=1e-5, rtol=1e-5
    )


def test_missing_for_all_is_missing_from_the_batch(network):
    pixels = pictures()
    nobody = {"sar": torch.zeros(3, dtype=torch.bool)}
    without = {role: values for role, values in pixels.items() if role != "sar"}
    expected = network(without)
    features = network(pixels, nobody)
    torch.testing.assert_close(features.summary, expected.summary, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features.levels[0], expected.levels[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(expected.summary, network(pixels).summary, atol=1e-4)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_the_level_of_a_missing_first_is_what_the_others_tell(positions):
    network, pixels = small(positions=positions).eval(), pictures()
    nobody = {"rgb": torch.zeros(3, dtype=torch.bool)}
    level = network(pixels, nobody).levels[0]
    torch.testing.assert_close(network(pixels | {"rgb": pixels["rgb"] * 9}, nobody).levels[0], level)
    assert not torch.allclose(network(pixels | {"ct": pixels["ct"] + 1}, nobody).levels[0], level, atol=1e-4)
    assert not torch.allclose(level[..., 0, 0], level[..., 1, 2], atol=1e-4), "places differ"


def test_one_modality_is_a_vit():
    """With the vector of its kind at zero nothing else is left."""
    network = small({"rgb": KINDS["rgb"]}, positions="rotary", registers=1).eval()
    nn.init.zeros_(network.modalities.kinds)
    pixels = pictures(roles=["rgb"])
    expected, features = network.vit(pixels["rgb"]), network(pixels)
    torch.testing.assert_close(features.summary, expected.summary, rtol=0, atol=0)
    torch.testing.assert_close(features.levels[0], expected.levels[0], rtol=0, atol=0)
    torch.testing.assert_close(features.prefix, expected.prefix, rtol=0, atol=0)
    torch.testing.assert_close(network.attention(pixels, 0), network.vit.attention(pixels["rgb"], 0))


def test_the_sequence_is_what_it_says():
    """Prefix, then each modality's patches, positions and kind, through the one encoder."""
    network, pixels = small(positions="learned").eval(), pictures()
    parts = [network.vit.prefix.expand(3, -1, -1)]
    for role, kind in zip(KINDS, network.modalities.kinds, strict=True):
        entrance = network.vit if role == "rgb" else network.others[role]
        tokens = entrance.embed(pixels[role]).flatten(2).mT
        parts.append(tokens + entrance.positions.values.flatten(0, -2) + kind)
    expected = network.vit.encoder(torch.cat(parts, dim=1))
    torch.testing.assert_close(network(pixels).summary, expected[:, 0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(network.tokens(pixels)["ct"].values, expected[:, -8:], atol=1e-6, rtol=1e-5)


def test_other_sizes_than_trained():
    network = small(positions="learned").eval()
    pixels = {"rgb": torch.randn(1, 3, 32, 32), "ct": torch.randn(1, 1, 8, 8, 24)}
    features = network(pixels)
    assert features.levels[0].shape == (1, 64, 4, 4)
    assert network.tokens(pixels)["ct"].values.shape == (1, 12, 64)


def test_attention_reaches_across_modalities_but_not_to_what_is_missing():
    network, pixels = small().eval(), pictures()
    missing = {"sar": torch.tensor([True, False, True])}
    weights = network.attention(pixels, 1, missing)
    assert weights.shape == (3, 4, 24, 24)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 4, 24))
    radar = slice(7, 16)
    assert not weights[1, ..., radar].any()
    assert weights[0, ..., :7, radar].min() > 0
    with pytest.raises(UsageError, match="no layer 2: this network has layers 0 to 1"):
        network.attention(pixels, 2)


def test_merging_works_across_modalities():
    network, pixels = small().eval(), pictures()
    expected = network(pixels).summary
    network.vit.merge = 3
    features = network(pixels, {"sar": torch.tensor([True, False, True])})
    assert features.levels[0].shape == (3, 64, 2, 3)
    assert F.cosine_similarity(network(pixels).summary, expected).min() > 0.8


def test_gradients_reach_every_part(network):
    model = copy.deepcopy(network).train()
    present = {"sar": torch.tensor([True, False, True])}
    features = model(pictures(), present)
    loss = features.summary.square().sum() + features.levels[0].square().sum() + sum(features.aux.values())
    loss.backward()
    for part, parameter in model.named_parameters():
        assert parameter.grad is not None, part
        assert parameter.grad.isfinite().all(), part
        assert parameter.grad.any(), part


def test_a_missing_picture_that_is_not_a_number_harms_no_gradient():
    model, pixels = small().train(), pictures()
    pixels["sar"][1] = float("nan")
    model(pixels, {"sar": torch.tensor([True, False, True])}).summary.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_weights_survive_a_file(network, tmp_path):
    file, twin = tmp_path / "weights.safetensors", copy.deepcopy(network)
    safetensors.torch.save_file(network.state_dict(), file)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert not torch.allclose(twin(pictures()).summary, network(pictures()).summary)
    twin.load_state_dict(safetensors.torch.load_file(file))
    torch.testing.assert_close(twin(pictures()).summary, network(pictures()).summary, rtol=0, atol=0)


def learn(scenes, classes, drop, steps):
    """Return a network that learned fresh scenes step by step, as the classes that it answers."""
    torch.manual_seed(0)
    config = MultimodalConfig(
        body=ViTConfig(size="pico", width=32, depth=2, heads=2, mlp=64, patch=4),
        modalities={"rgb": Modality(channels=3), "sar": Modality(channels=1, patch=3)},
        modality_drop=drop,
    )
    network, head = config.build({"rgb": (8, 8), "sar": (6, 6)}), nn.Linear(32, classes)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(steps):
        pixels, label = scenes(64)
        optimizer.zero_grad()
        F.cross_entropy(head(network(pixels, levels=False).summary), label).backward()
        optimizer.step()
    network.eval()
    return lambda pixels: head(network(pixels, levels=False).summary).argmax(1)


def marked(pixels, sign, axis):
    """Mark one line of each picture, anywhere along an axis."""
    lines = pixels.movedim(axis, 1)
    lines[torch.arange(len(lines)), torch.randint(lines.shape[1], (len(lines),))] += 1.5 * sign.view(-1, 1, 1)
    return pixels


def test_an_answer_that_needs_both_is_learned_and_each_alone_tells_its_half():
    def scenes(count):
        bits = torch.randint(2, (2, count))
        signs = 2.0 * bits - 1
        rgb = marked(0.3 * torch.randn(count, 3, 8, 8), signs[0], 3)
        sar = marked(0.3 * torch.randn(count, 1, 6, 6), signs[1], 2)
        return {"rgb": rgb, "sar": sar}, 2 * bits[0] + bits[1]

    answer = learn(scenes, 4, drop=0.3, steps=60)
    pixels, label = scenes(300)
    assert (answer(pixels) == label).float().mean() > 0.97
    assert (answer({"rgb": pixels["rgb"]}) // 2 == label // 2).float().mean() > 0.97
    assert (answer({"sar": pixels["sar"]}) % 2 == label % 2).float().mean() > 0.97


def test_modalities_hidden_in_training_teach_to_do_without():
    """Both tell the answer, the camera more easily; who always had it never learned to read the radar."""

    def scenes(count):
        bit = torch.randint(2, (count,))
        sign = 2.0 * bit - 1
        rgb = 0.3 * torch.randn(count, 3, 8, 8) + sign.view(-1, 1, 1, 1)
        return {"rgb": rgb, "sar": marked(0.5 * torch.randn(count, 1, 6, 6), sign, 2)}, bit

    right = {}
    for drop in (0.0, 0.4):
        answer = learn(scenes, 2, drop, steps=50)
        pixels, label = scenes(300)
        assert (answer(pixels) == label).float().mean() > 0.97
        right[drop] = (answer({"sar": pixels["sar"]}) == label).float().mean()
    assert right[0.0] < 0.8
    assert right[0.4] > 0.95


def test_training_with_hidden_modalities_draws_and_answering_does_not():
    network, pixels = small(drop=0.5), pictures()
    assert not torch.allclose(network(pixels).summary, network(pixels).summary)
    network.eval()
    torch.testing.assert_close(network(pixels).summary, network(pixels).summary, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"modalities": {}}, "needs at least one"),
        ({"modalities": {"a.b": KINDS["rgb"]}}, r"'a\.b' cannot be the name of a modality"),
        ({"modalities": {"keys": KINDS["rgb"]}}, "'keys' cannot be the name"),
        ({"modality_drop": 1.0}, "modality_drop is a chance from 0 to below 1, not 1"),
        ({"body": ViTConfig(stem="conv")}, "convolutional stem normalises over the batch"),
        ({"body": ViTConfig(patch_drop=0.5)}, "take modality_drop"),
    ],
)
def test_bad_words_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        MultimodalConfig(**{"body": ViTConfig(), "modalities": KINDS} | words)


def test_sizes_and_numbers_that_do_not_suit_are_refused():
    config = MultimodalConfig(body=ViTConfig(size="pico", patch=8), modalities=KINDS)
    with pytest.raises(UsageError, match="sizes of rgb do not suit the modalities rgb, sar, ct"):
        config.build({"rgb": (16, 16)})
    with pytest.raises(UsageError, match="patches of 4 pixels do not divide 13x12: take 12x12 or 16x12"):
        config.build(SIZES | {"sar": (13, 12)})
    with pytest.raises(UsageError, match="channels must be at least 1, not 0"):
        Modality(channels=0)


@pytest.mark.parametrize(
    ("roles", "present", "message"),
    [
        (["radar"], None, "no modality 'radar'"),
        (["rgb", "radar"], None, "no modality 'radar'.*This network knows rgb, sar, ct"),
        (["rgb"], {"rbg": [True] * 3}, "no modality 'rbg'. Did you mean rgb"),
        ([], None, "at least one of rgb, sar, ct"),
        (["sar"], {"sar": [True, False, True]}, "sample 1 of the batch has no picture of any modality"),
    ],
)
def test_batches_that_make_no_sense_are_refused(roles, present, message):
    pixels = {role: pictures()[role if role in KINDS else "sar"] for role in roles}
    truth = None if present is None else {role: torch.tensor(row) for role, row in present.items()}
    with pytest.raises(UsageError, match=message):
        small()(pixels, truth)


def test_a_level_without_its_modality_is_refused():
    with pytest.raises(UsageError, match=r"level is a map over 'rgb', of which .* no picture.*levels=False"):
        small()(pictures(roles=["sar"]))


def test_a_patch_left_open_follows_each_kind_of_picture():
    torch.manual_seed(0)
    body = ViTConfig(size="pico", depth=1, patch=0)
    config = MultimodalConfig(
        body=body, modalities={"rgb": Modality(channels=3), "sar": Modality(channels=1)}
    )
    network = config.build({"rgb": (64, 64), "sar": (32, 32)})
    assert (network.vit.patches, network.others["sar"].patches) == ((8, 8), (4, 4))
