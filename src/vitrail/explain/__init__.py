"""Model, picture and answer to heat maps."""

from vitrail.explain.attention import AttentionMap

EXPLAINERS: dict[str, type[AttentionMap]] = {"attention": AttentionMap}
"""The ways to explain an answer, by name."""
