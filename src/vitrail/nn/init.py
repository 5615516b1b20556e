"""How the weights of a Transformer start: functions for ``Module.apply``."""

import torch
from torch import nn

from vitrail.nn.attention import Attention, CrossAttention
from vitrail.nn.embed import PatchEmbed, TubeletEmbed
from vitrail.nn.modulation import Modulation
from vitrail.nn.positions import LearnedPositions, sine


def normal(module: nn.Module) -> None:
    """Draw dense weights from a normal of deviation 0.02, as BERT and timm's ViT do; biases are zero.

    The deviation suits widths of some hundreds, where it is about Xavier's; small networks start too quietly.
    """
    if isinstance(module, nn.Linear) and not isinstance(module, Modulation):
        nn.init.trunc_normal_(module.weight, std=0.02)
        _still(module)


def xavier(module: nn.Module) -> None:
    """Draw each matrix uniformly so that it keeps the variance of what passes it, whatever the width.

    (Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks".)
    Query, key and value are three matrices in one and are drawn as three; patches are rows of a matrix.
    Learned positions start as waves of half the tokens' strength, which small networks need long to find.
    """
    if isinstance(module, nn.Linear) and not isinstance(module, Modulation):
        nn.init.xavier_uniform_(module.weight)
        _still(module)
    elif isinstance(module, Attention):  # after its own layers: apply() visits the children first
        for matrix in module.qkv.weight.chunk(3):
            nn.init.xavier_uniform_(matrix)
    elif isinstance(module, CrossAttention):
        for matrix in module.key_value.weight.chunk(2):
            nn.init.xavier_uniform_(matrix)
    elif isinstance(module, PatchEmbed | TubeletEmbed):
        nn.init.xavier_uniform_(module.weight.flatten(1))
        _still(module)
    elif isinstance(module, LearnedPositions) and not module.values.is_meta:  # waves of shapes are nothing
        *grid, features = module.values.shape
        with torch.no_grad():
            module.values.copy_(sine(grid, features, temperature=None) * 0.5**0.5)


def _still(module: nn.Linear | PatchEmbed | TubeletEmbed) -> None:
    if module.bias is not None:
        nn.init.zeros_(module.bias)


INITS = {"normal": normal, "xavier": xavier}
