"""Features to output to answers: one file a head, its loss beside it."""

from vitrail.heads.linear import LinearConfig

HeadConfig = LinearConfig

HEADS: dict[str, type[HeadConfig]] = {"linear": LinearConfig}
"""The heads, by the name that their configs carry."""
