"""The device and what pays on it: precision, compilation, memory format, threads."""

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from vitrail import __version__
from vitrail.data.preprocess import Preprocess
from vitrail.errors import UsageError
from vitrail.run.recipe import Environment, Recipe
from vitrail.values import Batch


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Where a model runs and how."""

    device: torch.device
    bf16: bool = False
    compile: bool = False
    channels_last: bool = False

    def ready(self, batch: Batch, preprocess: Preprocess) -> Batch:
        """Move a batch of uint8 pictures to the device and normalise it there."""
        pixels = {role: self._pixels(tensor, preprocess) for role, tensor in batch.pixels.items()}
        targets = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.targets.items()}
        return replace(batch, pixels=pixels, targets=targets)

    def place(self, model: nn.Module) -> None:
        """Move a model to the device, in the memory format that pays there."""
        model.to(self.device)
        if self.channels_last:
            model.to(memory_format=torch.channels_last)

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Compute in bf16 where it was chosen."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            yield

    def _pixels(self, tensor: Tensor, preprocess: Preprocess) -> Tensor:
        pixels: Tensor = preprocess.normalise(tensor.to(self.device, non_blocking=True))
        return pixels.contiguous(memory_format=torch.channels_last) if self.channels_last else pixels


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes CUDA, then Apple's, then the processor."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--device {name}: not available here ({reason}). Take cpu, cuda, mps or auto."
        ) from None
    return device


def choose_environment(recipe: Recipe) -> Environment:
    """Decide what the recipe leaves open, by what pays on this machine, and write it down.

    bf16 and compilation pay on CUDA devices with tensor cores; on a processor eager float32 is as fast.
    Channels-last pays for convolutions on both.
    """
    device = choose_device(recipe.device)
    tensor_cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    precision, compiled = recipe.train.precision, recipe.train.compile
    return Environment(
        vitrail=__version__,
        torch=str(torch.__version__),
        device=device.type,
        processor=processor_name(device),
        threads=torch.get_num_threads(),
        precision=("bf16" if tensor_cores else "fp32") if precision == "auto" else precision,
        compile=tensor_cores if compiled == "auto" else compiled == "on",
        channels_last=likes_channels_last(recipe),
    )


def start_engine(recipe: Recipe) -> Engine:
    """Return the engine that a resolved recipe's environment describes."""
    environment = recipe.environment
    assert environment is not None, "a resolved recipe has an environment"
    torch.set_num_threads(environment.threads)
    if environment.device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # each run of several in one process has a peak of its own
    torch.backends.cudnn.benchmark = False  # its measured choices would change the bits from run to run
    return Engine(
        device=choose_device(recipe.device),
        bf16=environment.precision == "bf16",
        compile=environment.compile,
        channels_last=environment.channels_last,
    )


def answering_engine(recipe: Recipe, device: torch.device) -> Engine:
    """Return the engine that a recipe's model answers with, whoever asks: validation, report, user.

    It computes in float32 whatever the model was trained in, so that the numbers that choose, those that are
    reported and those that are served are the same.
    """
    return Engine(device=device, channels_last=likes_channels_last(recipe))


def likes_channels_last(recipe: Recipe) -> bool:
    """Whether the layout that convolutions prefer pays for a recipe's model."""
    return recipe.model.family == "timm"


def processor_name(device: torch.device) -> str:
    """Return what the device is called, for reports."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, {os.cpu_count()} cores"
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that this process has held so far, on the device or of main memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
