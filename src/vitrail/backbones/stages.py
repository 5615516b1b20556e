"""How deep each weight of a backbone lies, seen from the head: what fine-tuning goes by."""

import re
from types import SimpleNamespace

from torch import nn

from vitrail.backbones.timm import TimmBackbone
from vitrail.backbones.trial import Net

_BLOCK = re.compile(r"encoder\.blocks\.(\d+)\.")


def depth_of(backbone: nn.Module) -> dict[str, int]:
    """Return, for each parameter's name, how many stages its gradient has come through after the head's.

    0 stands beside the head (an attention pool), 1 is the last block with the norm after it, the largest is
    the embedding. Networks of timm are grouped as timm groups them, so that a rate that shrinks by a factor a
    stage is that of timm's ``param_groups_layer_decay``; of what is neither, each part counts as a stage.
    (Bao et al. 2021, "BEiT: BERT pre-training of image Transformers", which brought layer decay to vision.)
    """
    if isinstance(backbone, TimmBackbone):
        return {f"net.{name}": depth for name, depth in _depth_by_timm(backbone.net).items()}
    names = [name for name, _ in backbone.named_parameters()]
    blocks = [int(found[1]) for name in names if (found := _BLOCK.match(name))]
    if blocks:
        return {name: _depth_in_transformer(name, max(blocks) + 1) for name in names}
    parts = list(dict.fromkeys(name.partition(".")[0] for name in names))
    return {name: len(parts) - parts.index(name.partition(".")[0]) for name in names}


def _depth_in_transformer(name: str, blocks: int) -> int:
    """Return the depth in a Transformer of ours: embedding, blocks with the last norm, pooling."""
    if found := _BLOCK.match(name):
        return blocks - int(found[1])
    if name.startswith("encoder."):
        return 1
    return 0 if name.startswith(("pooling.", "norm_summary.")) else blocks + 1


def _depth_by_timm(net: Net) -> dict[str, int]:
    """Return the depth by timm's own groups, which it counts from the input and with the classifier."""
    from timm.models import group_parameters
    from timm.optim import auto_group_layers

    # Ours is built without its classifier, whose group is where timm counts from: only its name is missed.
    stated = net.pretrained_cfg.get("classifier") or "head"
    classifier = stated if isinstance(stated, str) else stated[0]
    whole = SimpleNamespace(
        pretrained_cfg=net.pretrained_cfg,
        named_parameters=lambda: [*net.named_parameters(), (f"{classifier}.weight", None)],
    )
    if hasattr(net, "group_matcher"):
        stages = group_parameters(whole, net.group_matcher(coarse=False), reverse=True)
    else:
        stages = auto_group_layers(whole)
    last = max(stages.values())
    return {name: last - stages.get(name, last) for name, _ in net.named_parameters()}
