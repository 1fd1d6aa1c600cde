"""`auscult bench train-step`: forward and backward of DASS beside its rivals, memory a clip, time of an epoch."""

from pathlib import Path
from typing import Any

from ..errors import AuscultError
from . import networks, peaks, work
from .document import document
from .model import floor, memories
from .setting import Setting, prepare
from .timing import Clock, Contestant, race

SLOW_ROUNDS = 2  # of the public VMamba, which takes a quarter of a minute a clip
CYCLES = 4142  # training cycles of ICBHI 2017, official split
BACKWARD = 2  # a product needs two more of its size in the backward pass


def measure(
    setting: Setting,
    *,
    vmamba: Path | None = None,
    ast: bool = False,
    passes: int = 1,
    cycles: int = CYCLES,
    optimizer: bool = False,
    with_memory: bool = True,
) -> dict[str, Any]:
    """Times a training step.

    Args:
        passes: 1; or 3, the cost of Lung-SRAD: the clean clip, and two mixed views of its patches in one batch.
        cycles: training cycles of an epoch, for its projected time.
        optimizer: whether AdamW's update belongs to the step.

    Raises:
        AuscultError: E_SETTING for another number of passes, or no cycles.

    Source: Lung-SRAD's two Patch-Mix views (time and frequency) beside the clean pass.
    """
    if passes not in (1, 3) or cycles < 1:
        raise AuscultError("E_SETTING", f"--passes {passes} --cycles {cycles}; 1 or 3 passes, 1 or more cycles.")
    state = prepare(setting)
    chosen = networks.names(setting, vmamba_folder=vmamba, ast=ast, train=True, passes=passes)
    made = {name: networks.build(name, setting, vmamba) for name in chosen}
    flops = work.forward_flops(made[networks.OURS].module, setting.frames) * setting.batch * passes * (1 + BACKWARD)
    measured = peaks.peaks(setting)
    definition = networks.Definition(setting, passes)
    rows = race(
        [contestant(n, definition, setting, passes, optimizer) for n in made.values()],
        setting.rounds,
        Clock(threads=setting.threads, device=setting.device),
        "train-step",
    )
    options = {"passes": passes, "optimizer": optimizer}
    cells = memories(chosen, "train-step", setting, vmamba, **options) if with_memory else []
    for row in rows:
        row["epoch_s"] = epoch_s(row["min_ms"], setting.batch, cycles) if "min_ms" in row else None
    return document(
        "train-step",
        setting,
        state,
        options={
            "vmamba": vmamba is not None,
            "ast": ast,
            **options,
            "cycles": cycles,
            "no-memory": not with_memory,
        },
        races={"forward + backward": rows},
        peaks=measured,
        floors={"forward + backward": floor(rows[0], flops, measured, setting.precision)},
        memory={"forward + backward": cells},
        notes=networks.notes(chosen, vmamba),
    )


def contestant(
    network: networks.Network, definition: networks.Definition, setting: Setting, passes: int, optimizer: bool
) -> Contestant:
    """A training step ready to be timed, its gradients checked against the definition."""
    slow = network.name in (networks.VMAMBA, networks.VMAMBA_HALF)
    return Contestant(
        name=network.name,
        error=definition.gradient_error(network),
        work=network.step(networks.clip(setting), passes, optimizer),
        tolerance=networks.GRADIENT_TOLERANCE[network.precision],
        at_most=SLOW_ROUNDS if slow else None,
    )


def epoch_s(step_ms: float, batch: int, cycles: int) -> float:
    """Seconds of an epoch of `cycles` clips at `step_ms` a step.

    >>> epoch_s(200.0, 2, 4142)
    414.2
    """
    return cycles / batch * step_ms / 1e3
