"""Words to one call. The top of `--help` is static: it answers without torch and without tyro."""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence

from vitrail._version import __version__
from vitrail.errors import UsageError, VitrailError, nearest

VERBS = {
    "demo": "the main job on digits that come with the installation: train two models, compare, report",
    "train": "DATA --model M: train a model on a folder of pictures, into a run folder",
    "compare": "DATA --models A B: which model is better, and how sure that is; or RUN RUN",
    "evaluate": "RUN [DATA]: metrics with intervals, per class, calibration",
    "predict": "RUN PICTURES...: answers as JSON lines, CSV, or the dicts of transformers' pipelines",
    "explain": "RUN PICTURES...: where the model looked when it answered, and how far that can be trusted",
    "export": "RUN --format transformers|timm: a folder that these libraries load, with equal answers",
    "models": "[WORD]: which models there are",
    "show": "RUN or MODEL: what it is made of",
}

HELP = (
    """usage: vitrail VERB ... [--json] [--help]

A folder of pictures becomes a trained, measured and reported vision model.

"""
    + "\n".join(f"  {verb:<10}{about}" for verb, about in VERBS.items())
    + """

Examples:
  vitrail demo
  vitrail train pictures/ --model vit-s16 --epochs 50 --out run
  vitrail train slides/ --task segment --out nuclei      # a class for every pixel
  vitrail train --resume run
  vitrail compare pictures/ --models vit-s16 resnet50 --seeds 5
  vitrail evaluate run
  vitrail predict run new/*.jpg --out answers
  vitrail explain run new/*.jpg --out why

vitrail VERB --help tells more. Every verb takes --json: one JSON object on standard output.
"""
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 when done, 1 when the work failed, 2 when the words were wrong."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except VitrailError as error:
        return _fail(words, str(error), error.status)
    except KeyboardInterrupt:
        return _fail(words, "stopped.", 1)
    except BrokenPipeError:
        # Whoever read our output has left; nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _fail(
            words, f"{type(error).__name__}: {error} (this is a fault of ours; --debug shows where)", 1
        )


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")  # noqa: T201
        return 0 if words else 2
    if words[0] in ("--version", "-V"):
        print(f"vitrail {__version__}")  # noqa: T201
        return 0
    verb = words[0]
    if verb not in VERBS:
        raise UsageError(f"{verb}: not a verb.{nearest(verb, VERBS)} See vitrail --help")
    # Threads that wait for each other sleep instead of spinning: on a busy machine that would keep the very
    # thread that they wait for from running. It has to be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    module = importlib.import_module(f"vitrail.cli.{verb}")
    try:
        module.run(words[1:])
    except SystemExit as leaving:  # --help of a verb
        return int(leaving.code or 0)
    return 0


def _fail(words: Sequence[str], message: str, status: int) -> int:
    if "--debug" in words:
        traceback.print_exc()
    print(f"vitrail: {message}", file=sys.stderr)  # noqa: T201
    if "--json" in words:
        print(json.dumps({"error": message, "status": status}))  # noqa: T201
    return status
