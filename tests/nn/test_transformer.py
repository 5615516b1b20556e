import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vitrail.errors import UsageError
from vitrail.nn.transformer import TransformerConfig

PAD, START, END = 0, 1, 2
TEENS = [f"{stem}teen" for stem in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
ONES = [*DIGITS, "ten", "eleven", "twelve", *TEENS]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = ["PAD", "START", "END", *"0123456789", *ONES, *TENS, "hundred", "thousand"]


def spelt(number):
    """Return a number in English words: 340 is three hundred forty."""
    if number < 20:
        return [ONES[number]]
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            return [*spelt(number // size), name, *(spelt(number % size) if number % size else [])]
    return [TENS[number // 10 - 2], *(spelt(number % 10) if number % 10 else [])]


def padded(rows, pad=PAD):
    longest = max(map(len, rows))
    return torch.tensor([[WORDS.index(word) for word in row] + [pad] * (longest - len(row)) for row in rows])


def small(**changes):
    torch.manual_seed(0)
    sizes = {"vocabulary": 20, "width": 16, "depth": 2, "heads": 2, "hidden": 32}
    return TransformerConfig(**sizes | changes).build().eval()


@pytest.fixture
def sentences():
    torch.manual_seed(1)
    return torch.randint(20, (3, 7)), torch.randint(20, (3, 5))


def test_the_toy_language_is_english():
    assert " ".join(spelt(90_417)) == "ninety thousand four hundred seventeen"
    assert (" ".join(spelt(1300)), spelt(0), spelt(20)) == (
        "one thousand three hundred",
        ["zero"],
        ["twenty"],
    )


def test_it_learns_to_translate_and_translates_what_it_never_saw():
    torch.manual_seed(0)
    order = torch.randperm(10_000).tolist()
    held_out, learned = order[:500], order[500:]
    source = padded([spelt(number) for number in learned])
    target = padded([["START", *str(number), "END"] for number in learned])
    transformer = TransformerConfig(
        vocabulary=len(WORDS), width=64, depth=2, heads=4, hidden=128, dropout=0.0
    ).build()
    optimizer = torch.optim.Adam(transformer.parameters(), betas=(0.9, 0.98), eps=1e-9)
    steps, warm = 320, 32
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * min((step + 1) / warm, 1 - step / steps)
        rows = torch.randint(len(learned), (48,))
        words, said = source[rows], target[rows]
        logits = transformer(words, said[:, :-1], words != PAD)
        loss = F.cross_entropy(logits.flatten(0, 1), said[:, 1:].flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    asked = padded([spelt(number) for number in held_out])
    answers = transformer.eval().translate(asked, asked != PAD, start=START, end=END, longest=6)
    expected = padded([[*str(number), "END"] for number in held_out], END)
    assert answers.shape == expected.shape
    assert (answers == expected).all(1).float().mean() >= 0.99


def copied(ours, theirs):
    """Give torch's own Transformer our weights."""
    names = {
        "mix.qkv": "self_attn.in_proj_", "mix.out": "self_attn.out_proj.", "around_mix.norm": "norm1.",
        "feed.up": "linear1.", "feed.down": "linear2.", "cross.out": "multihead_attn.out_proj.",
    }  # fmt: skip
    last = {"encoder": {"around_feed.norm": "norm2."}, "decoder": {
        "around_cross.norm": "norm2.", "around_feed.norm": "norm3.",
    }}  # fmt: skip
    state = {}
    for side in ("encoder", "decoder"):
        for number, layer in enumerate(getattr(ours, side).blocks):
            weights = layer.state_dict()
            for name, their in (names | last[side]).items():
                for kind in ("weight", "bias"):
                    if f"{name}.{kind}" in weights:
                        state[f"{side}.layers.{number}.{their}{kind}"] = weights.pop(f"{name}.{kind}")
            if side == "decoder":
                for kind in ("weight", "bias"):
                    pair = [weights.pop(f"cross.{part}.{kind}") for part in ("query", "key_value")]
                    state[f"{side}.layers.{number}.multihead_attn.in_proj_{kind}"] = torch.cat(pair)
            assert not weights
        for key, value in getattr(ours, side).norm.state_dict().items():
            state[f"{side}.norm.{key}"] = value
    theirs.load_state_dict(state)
    return theirs.eval()


@pytest.mark.parametrize("place", ["post", "pre"])
def test_equal_to_torchs_own(place, sentences):
    source, target = sentences
    ours = small(norm_place=place)
    for parameter in ours.parameters():  # also those that start at zero or one
        nn.init.normal_(parameter, std=0.2)
    sizes = {"d_model": 16, "nhead": 2, "dim_feedforward": 32, "layer_norm_eps": 1e-6, "batch_first": True}
    sizes["norm_first"] = place == "pre"
    layer, norm = nn.TransformerEncoderLayer(**sizes), nn.LayerNorm(16, eps=1e-6)
    encoder = nn.TransformerEncoder(layer, 2, norm, enable_nested_tensor=False)
    theirs = nn.Transformer(custom_encoder=encoder, num_decoder_layers=2, **sizes)
    if place == "post":  # they normalise once more, which the paper does not
        theirs.encoder.norm = theirs.decoder.norm = None
    copied(ours, theirs)
    places = torch.arange(7)[:, None] / 10_000 ** torch.linspace(0, 1, 8)
    waves = torch.cat([places.sin(), places.cos()], dim=1)
    seen = torch.tensor([[True] * 7, [True] * 4 + [False] * 3, [True] * 6 + [False]])
    read, written = (4 * ours.embed.weight[words] + waves[: words.shape[1]] for words in sentences)
    expected = theirs(
        read,
        written,
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(5),
        src_key_padding_mask=~seen,
        memory_key_padding_mask=~seen,
    )
    logits = ours(source, target, seen)
    torch.testing.assert_close(logits, expected @ ours.embed.weight.T, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("place", ["post", "pre"])
def test_the_future_never_leaks(place, sentences):
    source, target = sentences
    transformer = small(norm_place=place)
    logits = transformer(source, target)
    for first in range(1, 5):
        other = target.clone()
        other[:, first:] = (other[:, first:] + 1) % 20
        changed = transformer(source, other)
        torch.testing.assert_close(changed[:, :first], logits[:, :first], rtol=0, atol=0)
        assert (changed[:, first:] != logits[:, first:]).any(-1).all()


def test_padding_never_leaks(sentences):
    source, target = sentences
    transformer = small()
    lengths, written = (7, 2, 4), (3, 5, 1)
    seen = torch.arange(7) < torch.tensor(lengths)[:, None]
    together = transformer(source, target, seen)
    noise = torch.where(seen, source, (source + 3) % 20)
    torch.testing.assert_close(transformer(noise, target, seen), together, rtol=0, atol=0)
    for row, (long, said) in enumerate(zip(lengths, written, strict=True)):
        alone = transformer(source[row : row + 1, :long], target[row : row + 1, :said])
        torch.testing.assert_close(together[row : row + 1, :said], alone, atol=1e-5, rtol=1e-5)


def test_greedy_words_are_the_most_probable_ones_one_by_one(sentences):
    source, _ = sentences
    transformer = small()
    seen = torch.arange(7) < torch.tensor([[7], [3], [5]])
    free = transformer.translate(source, seen, start=1, end=-1, longest=6)
    assert free.shape == (3, 6)
    said = torch.cat([torch.ones(3, 1, dtype=torch.long), free], dim=1)
    torch.testing.assert_close(transformer(source, said, seen)[:, :-1].argmax(-1), free)
    end = free[0, 1].item()
    stopped = transformer.translate(source, seen, start=1, end=end, longest=6)
    for row, whole in zip(stopped, free, strict=True):
        there = (whole == end).nonzero()
        until = there[0, 0].item() + 1 if len(there) else 6
        torch.testing.assert_close(row[:until], whole[: len(row)][:until])
        assert (row[until:] == end).all()
    (alone,) = transformer.translate(source[:1], start=1, end=end, longest=6)
    assert len(alone) == (free[0] == end).nonzero()[0, 0] + 1


def test_one_matrix_reads_and_writes_and_starts_quietly():
    transformer = small(width=64, vocabulary=1000)
    count = sum(
        parameter.numel() for name, parameter in transformer.named_parameters() if "blocks" not in name
    )
    assert count == 64_000
    logits = transformer(torch.randint(1000, (4, 9)), torch.randint(1000, (4, 9)))
    assert 0.5 < logits.std() < 2
    entered = transformer._enter(torch.randint(1000, (4, 9)))
    assert 0.9 < entered.square().mean() - 0.5 < 1.1, "words are as strong as 1, positions as the root of 1/2"


def test_the_default_is_the_papers_base_model():
    with torch.device("meta"):
        transformer = TransformerConfig(vocabulary=37_000).build()
    assert sum(parameter.numel() for parameter in transformer.parameters()) == pytest.approx(63e6, rel=0.02)
    assert (len(transformer.encoder.blocks), len(transformer.decoder.blocks)) == (6, 6)
    rates = {module.p for name, module in transformer.named_modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.1, 0.0}  # not within the feed-forward parts


def test_dropout_acts_on_the_sum_with_positions_and_on_every_branch(sentences):
    transformer = small(dropout=0.5)
    torch.testing.assert_close(transformer(*sentences), transformer(*sentences))
    blocks = [f"encoder.blocks.{n}.around_{part}.drop" for n in range(2) for part in ("mix", "feed")]
    blocks += [
        f"decoder.blocks.{n}.around_{part}.drop" for n in range(2) for part in ("mix", "cross", "feed")
    ]
    drops = {name: each for name, each in transformer.named_modules() if getattr(each, "p", 0) == 0.5}
    assert sorted(drops) == sorted(["dropout", *blocks])
    for drop in drops.values():  # each by itself makes a difference
        transformer.eval()
        drop.train()
        assert not torch.allclose(transformer(*sentences), transformer(*sentences))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"heads": 3}, "3 heads do not divide a width of 16: take 2 or 4"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"vocabulary": -1}, "vocabulary must be at least 1"),
        ({"dropout": 1.0}, "dropout is a chance from 0 to below 1, not 1"),
    ],
)
def test_bad_words_are_refused(words, message):
    with pytest.raises(UsageError, match=message):
        small(**words)
