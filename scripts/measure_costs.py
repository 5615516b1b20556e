"""Counts parameters and FLOPs of our networks and timm's into src/vitrail/backbones/costs.csv.

    python scripts/measure_costs.py [--fresh]

`vitrail models` reads the table, because building 1,400 networks to list them would take minutes. Networks of
timm that are in the table already are not counted again, unless ``--fresh``: do that when timm is updated.
Nothing is computed and no memory is taken: pictures and weights have shapes only.
"""

import sys
import warnings
from functools import partial

import timm

from vitrail.backbones import configure
from vitrail.backbones.catalogue import NATIVE
from vitrail.backbones.costs import TABLE, Cost, count_cost, read_costs, write_costs
from vitrail.backbones.names import our_names

SAVE_EVERY = 50
MADE_BY = (
    f"timm {timm.__version__}. Parameters without a classifier; FLOPs of one picture (a multiplication and "
    "an addition are two). Made by scripts/measure_costs.py"
)


def cost_of_ours(name: str) -> Cost:
    return count_cost(partial(configure(name).build, NATIVE, 3), NATIVE)


def cost_of_timms(name: str) -> Cost:
    channels, height, width = timm.models.get_pretrained_cfg(name).input_size
    return count_cost(partial(timm.create_model, name, num_classes=0), (height, width), channels)


def main() -> int:
    warnings.simplefilter("ignore")  # timm's own, about modules that have moved
    names = timm.list_models()
    known = {} if "--fresh" in sys.argv else read_costs()
    costs = {name: known[name] for name in names if name in known}
    costs |= {name: cost_of_ours(name) for name in our_names()}
    failed = 0
    for name in (name for name in names if name not in known):
        try:
            costs[name] = cost_of_timms(name)
        except Exception as error:  # whatever a network raises, the list can do without its numbers
            print(f"{name}: {type(error).__name__}: {error}")
            failed += 1
        if len(costs) % SAVE_EVERY == 0:
            print(f"{len(costs)} networks", flush=True)
            write_costs(costs, MADE_BY)
    write_costs(costs, MADE_BY)
    print(f"{TABLE}: {len(costs)} networks, {failed} of timm's could not be counted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
