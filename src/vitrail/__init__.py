"""A folder of pictures becomes a trained, measured and reported vision model."""

from typing import TYPE_CHECKING, Any

from vitrail._version import __version__
from vitrail.errors import UsageError, VitrailError
from vitrail.values import Estimate, Label

if TYPE_CHECKING:
    from vitrail.run.compare import compare
    from vitrail.run.evaluate import evaluate
    from vitrail.run.launch import train
    from vitrail.run.predict import Predictor, load
    from vitrail.run.recipe import Recipe

__all__ = [
    "Estimate",
    "Label",
    "Predictor",
    "Recipe",
    "UsageError",
    "VitrailError",
    "__version__",
    "compare",
    "evaluate",
    "load",
    "train",
]

# What needs torch is fetched when it is first asked for: `import vitrail` itself stays light.
_LATE = {
    "Predictor": "vitrail.run.predict",
    "Recipe": "vitrail.run.recipe",
    "compare": "vitrail.run.compare",
    "evaluate": "vitrail.run.evaluate",
    "load": "vitrail.run.predict",
    "train": "vitrail.run.launch",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module 'vitrail' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
