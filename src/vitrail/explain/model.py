"""What a model has learned, seen from within: positions, filters, features, how far it looks."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitrail.backbones.vision_transformer import ViT
from vitrail.errors import UsageError
from vitrail.explain.relevance import blocks_of, on_blocks
from vitrail.explain.tap import at_rest
from vitrail.models.vision import Vision
from vitrail.nn.positions import LearnedPositions
from vitrail.values import Batch


@torch.no_grad()
def position_similarity(backbone: ViT) -> Float[Tensor, "h w h w"]:
    """Return the cosine between the learned positions of every two places.

    Figure 7 of Dosovitskiy et al. 2020, "An image is worth 16x16 words", whose other parts are below.
    Raises UsageError for a network whose positions are not learned vectors on a grid.
    """
    positions = getattr(backbone, "positions", None)
    if not isinstance(positions, LearnedPositions) or positions.values.ndim != 3:
        raise UsageError("this network has learned no positions of places on a grid.")
    unit = F.normalize(positions.values.float(), dim=-1)
    return torch.einsum("hwd,yxd->hwyx", unit, unit)


@torch.no_grad()
def patch_filters(backbone: nn.Module, most: int = 28) -> Float[Tensor, "k c p q"]:
    """Return the principal components of the first filters of a network, strongest first.

    Of a Transformer that cuts pictures by one linear map of each patch they are those of that figure, of
    other networks those of their first convolution. Their signs are those of what is greatest in them.
    Raises UsageError for a network that looks at pixels in another way.
    """
    convolutions = (each for each in backbone.modules() if isinstance(each, nn.Conv2d))
    first = next((each for each in convolutions if each.groups == 1), None)
    if first is None:
        raise UsageError("this network does not begin with filters.")
    filters = first.weight.float()
    _, _, components = torch.linalg.svd(_centred(filters.flatten(1)), full_matrices=False)
    return _signed(components[:most]).reshape(-1, *filters.shape[1:])


@torch.no_grad()
def feature_colours(model: Vision, batch: Batch) -> Float[Tensor, "b h w 3"]:
    """Return three principal components of the last level's features as red, green and blue, 0 to 1.

    Oquab et al. 2023, "DINOv2". The components are those of the whole batch, so that what has one colour in
    two pictures is alike to the model.
    """
    with at_rest(model, batch) as ready, torch.no_grad():
        features = model.features(ready).levels[-1].float().movedim(1, 3)
    flat = _centred(features.flatten(0, 2))
    _, _, components = torch.linalg.svd(flat, full_matrices=False)
    colours = flat @ _signed(components[:3]).mT
    colours = F.pad(colours, (0, 3 - colours.shape[1]))  # two places have fewer components
    low, high = colours.amin(dim=0), colours.amax(dim=0)
    return ((colours - low) / (high - low).clamp(min=1e-12)).view(*features.shape[:3], -1)


@torch.no_grad()
def attention_distance(model: Vision, batch: Batch) -> Float[Tensor, "layers heads"]:
    """Return how far each head of each layer looks on average, in pixels.

    That is the distance between the middles of two patches, weighted by the attention of one to the other;
    what goes to class and register tokens does not count. Raises UsageError for a network without attention
    of ours.
    """
    backbone, found = model.backbone, list[Tensor]()
    blocks = blocks_of(model)
    height, width = backbone.grid(batch.pixels["image"])
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).float() * backbone.patch
    apart = torch.cdist(places, places).to(batch.pixels["image"].device)

    def look(block: nn.Module, given: tuple[Tensor, ...]) -> None:
        paid = block.weights(*given)[:, :, backbone.skip :, backbone.skip :].float()  # type: ignore[operator]
        share = paid / paid.sum(dim=-1, keepdim=True).clamp(min=1e-12)
        found.append((share * apart).sum(dim=-1).mean(dim=(0, 2)))

    with at_rest(model, batch) as ready, torch.no_grad(), on_blocks(blocks, look):
        model.features(ready, levels=False)
    return torch.stack(found)


def _centred(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return rows - rows.mean(dim=0)


def _signed(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """Return components with the sign that makes their greatest entry positive: either is as good."""
    return rows * rows.gather(1, rows.abs().argmax(dim=1, keepdim=True)).sign()
