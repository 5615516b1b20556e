"""A Swin of timm's that learns on a processor in minutes: the least published has 27 million parameters."""

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.swin_transformer import SwinTransformer, _create_swin_transformer

NAME = "swin_pico_patch4_window6_96"
default_cfgs = generate_default_cfgs(
    {
        f"{NAME}.none": {
            "input_size": (3, 96, 96),
            "fixed_input_size": True,
            "pool_size": (3, 3),
            "num_classes": 1000,
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "patch_embed.proj",
            "classifier": "head.fc",
        }
    }
)


@register_model
def swin_pico_patch4_window6_96(pretrained: bool = False, **others: Any) -> SwinTransformer:
    """Return a Swin of four stages of two blocks, 24 channels at first, windows of 6 x 6."""
    words = {
        "patch_size": 4,
        "window_size": 6,
        "embed_dim": 24,
        "depths": (2, 2, 2, 2),
        "num_heads": (1, 2, 4, 8),
        "weight_init": "jax",  # Xavier's, from which small Transformers learn sooner
    }
    return _create_swin_transformer(NAME, pretrained=pretrained, **words | others)
