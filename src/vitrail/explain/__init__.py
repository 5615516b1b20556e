"""Model, picture and answer to heat maps."""

from vitrail.contracts import Explainer
from vitrail.explain.about import Versus
from vitrail.explain.attention import AttentionMap
from vitrail.explain.cam import Cam, GradCam, GradCamPlusPlus, LayerCam
from vitrail.explain.gradients import IntegratedGradients, Saliency, SmoothGrad
from vitrail.explain.occlusion import Occlusion
from vitrail.explain.relevance import Relevance, Rollout
from vitrail.explain.tap import layers_of
from vitrail.heads.dense import Region

__all__ = ["EXPLAINERS", "Region", "Versus", "layers_of"]

EXPLAINERS: dict[str, type[Explainer]] = {
    "saliency": Saliency,
    "smoothgrad": SmoothGrad,
    "integrated-gradients": IntegratedGradients,
    "cam": Cam,
    "grad-cam": GradCam,
    "grad-cam++": GradCamPlusPlus,
    "layer-cam": LayerCam,
    "attention": AttentionMap,
    "rollout": Rollout,
    "relevance": Relevance,
    "occlusion": Occlusion,
}
"""The ways to explain an answer, by name."""
