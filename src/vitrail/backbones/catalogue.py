"""Which models there are: ours, timm's, and what the Hub's cache holds of families that we read."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vitrail.backbones.cached import cached_models
from vitrail.backbones.costs import Cost, count_cost, read_costs
from vitrail.backbones.names import our_names
from vitrail.errors import VitrailError

NATIVE = (224, 224)
"""The pictures that the costs of our own are stated for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Published weights: their ``tag``, which can follow the network's name and a dot; their licence."""

    tag: str
    licence: str | None
    hub_id: str | None
    cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model that can be named, and what is known about it; the first of its weights are the default."""

    name: str
    source: Literal["vitrail", "timm", "hub"]
    cost: Cost | None
    weights: tuple[Weights, ...] = ()

    @property
    def licences(self) -> tuple[str, ...]:
        """The licences of its weights, those of the default first."""
        return tuple(dict.fromkeys(each.licence or "not stated" for each in self.weights))

    @property
    def cached(self) -> tuple[str, ...]:
        """The tags of its weights that are in the Hub's cache."""
        return tuple(each.tag for each in self.weights if each.cached)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; what a network costs stands among them, or None where it is not known."""
        plain = asdict(self)
        cost = plain.pop("cost") or dict.fromkeys(("parameters", "flops", "size"))
        return {"name": plain.pop("name"), "source": plain.pop("source"), **cost, **plain}


def list_models(word: str = "") -> list[Row]:
    """Return what can be named and has ``word`` in its name: ours, then timm's, then the Hub's in the cache.

    Asks no network, and builds none but those of the Hub: what the others cost is read from a table.
    """
    word, costs, held = word.lower(), read_costs(), cached_models()
    rows = [Row(name=name, source="vitrail", cost=costs.get(name)) for name in our_names()]
    rows += _timm_rows(costs, held)
    known = {weights.hub_id for row in rows for weights in row.weights}
    others = {hub_id: folder for hub_id, folder in held.items() if hub_id not in known}
    return [
        *(row for row in rows if word in row.name),
        *_hub_rows(costs, {hub_id: folder for hub_id, folder in others.items() if word in hub_id.lower()}),
    ]


def _timm_rows(costs: Mapping[str, Cost], held: Mapping[str, Path]) -> Iterator[Row]:
    import timm
    from timm.models import get_arch_pretrained_cfgs

    for name in sorted(timm.list_models()):
        published = tuple(
            Weights(tag=each.tag, licence=each.license, hub_id=each.hf_hub_id, cached=each.hf_hub_id in held)
            for each in get_arch_pretrained_cfgs(name).values()
            if each.has_weights
        )
        yield Row(name=name, source="timm", cost=costs.get(name), weights=published)


def _hub_rows(costs: Mapping[str, Cost], held: Mapping[str, Path]) -> Iterator[Row]:
    """Return rows of those models in the cache that can be named, which most there may not be."""
    from vitrail.backbones import configure

    for hub_id, folder in held.items():
        try:
            with _quiet():
                config = configure(hub_id, offline=True)
                cost = costs.get(config.name) if config.family == "timm" else _cost_of(config)
        except VitrailError:
            continue
        weights = Weights(tag="", licence=_licence(folder), hub_id=hub_id, cached=True)
        yield Row(name=hub_id, source="hub", cost=cost, weights=(weights,))


@contextmanager
def _quiet() -> Iterator[None]:
    """Let a list be free of what is to be said to those who use a model."""
    log = logging.getLogger("vitrail")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _cost_of(config: Any) -> Cost:
    design = config.preprocessing()
    size, channels = design["size"], design["channels"]
    return count_cost(lambda: config.untrained().build(size, channels), size, channels)


def _licence(folder: Path) -> str | None:
    """Return the licence that a model's card states at its head, if the card is here."""
    try:
        lines = (folder / "README.md").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    stated = (line.partition(":")[2].strip() for line in lines[:50] if line.startswith("license:"))
    return next(stated, None)
