"""What every benchmark shares: the settings, and the state they put this process into."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..cli.process import prepare_process
from ..compute import tune
from ..errors import AuscultError, unknown
from ..models.dass import SIZES
from ..models.scan import choose
from ..signal.mel import frame_count

RATE_HZ, MELS = 16000, 128
PRECISIONS, DEVICES = ("fp32", "bf16"), ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured.

    Args:
        size: of DASS.
        seconds: length of a clip at 16 kHz.
        batch: clips a step.
        threads: of torch and of the compiled scan, on a CPU.
        precision: ``bf16`` runs networks under autocast.
        device: ``cpu`` or ``cuda``.
        rounds: how often each contestant is timed; minimum and median are over these.

    Raises:
        AuscultError: E_SETTING for a value outside its range, or `cuda` where there is none.

    >>> Setting(seconds=8).frames
    798
    """

    size: str = "small"
    seconds: float = 8.0
    batch: int = 1
    threads: int = 2
    precision: str = "fp32"
    device: str = "cpu"
    rounds: int = 5

    def __post_init__(self) -> None:
        for kind, value, allowed in (
            ("DASS size", self.size, SIZES),
            ("precision", self.precision, PRECISIONS),
            ("device", self.device, DEVICES),
        ):
            if value not in allowed:
                raise unknown(kind, value, allowed)
        for name in ("batch", "threads", "rounds"):
            if getattr(self, name) < 1:
                raise AuscultError("E_SETTING", f"--{name} {getattr(self, name)}; 1 or more is needed.")
        if not 0.025 <= self.seconds <= 3600:
            raise AuscultError("E_SETTING", f"--seconds {self.seconds:g}; 0.025 (one frame) to 3600 are allowed.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise AuscultError("E_SETTING", "--device cuda, but torch finds no CUDA device; use --device cpu.")

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return frame_count(round(self.seconds * RATE_HZ), RATE_HZ)


@dataclass(frozen=True)
class State:
    """How this process was set up: the route of fp32 products, and the machine's load before anything was timed."""

    products: str
    load: float | None


def prepare(setting: Setting) -> State:
    """Sets the threads of this process, its memory and how it multiplies.

    Every contestant runs under the same state, rivals included.
    """
    load = load_average()
    prepare_process()
    torch.set_num_threads(setting.threads)
    for gradients in (False, True):  # the scan checks itself when first asked for: not within a timed call
        with torch.set_grad_enabled(gradients):
            choose(torch.empty(1, 32, 32, 32, device=setting.device))
    name = tune().name
    route = "oneDNN, measured to be as exact as torch's default and faster" if name == "onednn" else "torch's default"
    return State(route if setting.device == "cpu" else "torch's default", load)


def load_average() -> float | None:
    """Processes that wanted to run in the last minute, this one included."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


@contextlib.contextmanager
def autocast(device: str, precision: str) -> Iterator[None]:
    """bf16 autocast, or nothing."""
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        yield


def tensor(*shape: int, seed: int = 0, device: str = "cpu") -> torch.Tensor:
    """Standard normal numbers, the same on every machine."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
