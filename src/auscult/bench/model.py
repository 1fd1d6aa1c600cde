"""`auscult bench model`: the forward pass of DASS beside its rivals, its share of the floor, and memory a clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import memory, networks, peaks, work
from .document import document
from .setting import Setting, prepare
from .timing import Clock, Contestant, race

SLOW_ROUNDS = 3  # of the public VMamba, which takes half a second a clip


def measure(
    setting: Setting, *, vmamba: Path | None = None, ast: bool = False, with_memory: bool = True
) -> dict[str, Any]:
    """Times the forward pass.

    Args:
        vmamba: folder of the public VMamba repository; None leaves it out.
        ast: whether AST-base takes part.
        with_memory: whether peak memory is measured, in processes of their own.
    """
    state = prepare(setting)
    chosen = networks.names(setting, vmamba_folder=vmamba, ast=ast, train=False)
    definition = networks.Definition(setting)
    made = {name: networks.build(name, setting, vmamba) for name in chosen}
    flops = work.forward_flops(made[networks.OURS].module, setting.frames) * setting.batch
    measured = peaks.peaks(setting)
    rows = race(
        [contestant(n, definition, setting) for n in made.values()],
        setting.rounds,
        Clock(threads=setting.threads, device=setting.device),
        "model",
    )
    cells = memories(chosen, "forward", setting, vmamba) if with_memory else []
    return document(
        "model",
        setting,
        state,
        options={"vmamba": vmamba is not None, "ast": ast, "no-memory": not with_memory},
        races={"forward": rows},
        peaks=measured,
        floors={"forward": floor(rows[0], flops, measured, setting.precision)},
        memory={"forward": cells},
        notes=networks.notes(chosen, vmamba),
    )


def contestant(network: networks.Network, definition: networks.Definition, setting: Setting) -> Contestant:
    """A network ready to be timed, checked against the definition."""
    return Contestant(
        name=network.name,
        work=network.infer(networks.clip(setting)),
        error=definition.output_error(network),
        tolerance=networks.TOLERANCE[network.precision],
        at_most=SLOW_ROUNDS if network.name in (networks.VMAMBA, networks.VMAMBA_HALF) else None,
    )


def floor(row: dict[str, Any], flops: float, measured: dict[str, Any], precision: str) -> dict[str, Any]:
    """The floor of a network: its FLOPs at the best measured rate; and how much of its time that is."""
    gflops = peaks.best_gflops(measured, precision)
    floor_ms = work.floor_ms(flops, gflops)
    share = floor_ms / row["min_ms"] if "min_ms" in row else None
    return {"gflop": flops / 1e9, "peak_gflops": gflops, "floor_ms": floor_ms, "share": share}


def memories(
    chosen: Sequence[str], task: str, setting: Setting, vmamba: Path | None, **options: Any
) -> list[dict[str, Any]]:
    """Memory a clip of every network; smaller batches for the public VMamba, which is slow."""
    found = []
    for name in chosen:
        slow = name in (networks.VMAMBA, networks.VMAMBA_HALF)
        batches = memory.SLOW_BATCHES if slow else memory.BATCHES
        found.append(memory.per_clip(name, task, setting, vmamba, batches, **options))
    return found
