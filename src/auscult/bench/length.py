"""`auscult bench length`: time and memory of one clip against its length, DASS beside AST."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..errors import AuscultError
from . import memory, networks
from .ast import AST, LAYERS, tokens
from .ast import check as check_ast
from .document import document
from .model import contestant
from .setting import Setting, autocast, prepare
from .timing import Clock, Contestant, race

LENGTHS_S = (8.0, 30.0, 60.0, 120.0, 300.0, 600.0)
AST_S = 60.0
SLOW_S = 60.0  # clips from here on are timed in two rounds
SLOW_ROUNDS = 2
ONE_LAYER = f"one layer x {LAYERS}"


def measure(
    setting: Setting,
    *,
    lengths: Sequence[float] = LENGTHS_S,
    ast: bool = False,
    ast_seconds: float = AST_S,
    with_memory: bool = True,
) -> dict[str, Any]:
    """Times the forward pass of one clip of each length.

    Args:
        lengths: seconds.
        ast: whether AST-base takes part.
        ast_seconds: AST is run whole up to here; beyond, one layer is, and counted twelve times.
        with_memory: whether peak memory is measured, in processes of their own.

    Raises:
        AuscultError: E_SETTING for a length out of range, or fewer than two lengths.
    """
    if len(set(lengths)) < 2:
        raise AuscultError("E_SETTING", f"--lengths {lengths}; two different lengths or more are needed for a slope.")
    settings = [replace(setting, seconds=float(s)) for s in sorted(set(lengths))]
    if ast:
        check_ast(settings[0].frames)
    state = prepare(setting)
    ours = networks.build(networks.OURS, settings[0])
    error = networks.Definition(settings[0]).output_error(ours)  # no later length: the definition walks step by step
    points = [_point(s, ours, error, ast, ast_seconds, with_memory) for s in settings]
    return document(
        "length",
        setting,
        state,
        options={
            "lengths": ",".join(f"{s.seconds:g}" for s in settings),
            "ast": ast,
            "ast-seconds": ast_seconds,
            "no-memory": not with_memory,
        },
        points=points,
        slopes={name: slopes(points, name) for name in (networks.OURS, *((networks.AST_BASE,) if ast else ()))},
        notes=[f"AST beyond {ast_seconds:g} s: {ONE_LAYER}, plus what is not a layer"] if ast else [],
    )


def _point(
    setting: Setting,
    ours: networks.Network,
    error: float,
    ast: bool,
    ast_seconds: float,
    with_memory: bool,
) -> dict[str, Any]:
    clock = Clock(threads=setting.threads, device=setting.device)
    slow = setting.seconds >= SLOW_S
    racers = [
        Contestant(
            name=ours.name,
            work=ours.infer(networks.clip(setting, batch=1)),
            error=error,
            tolerance=networks.TOLERANCE[ours.precision],
            at_most=SLOW_ROUNDS if slow else None,
        )
    ]
    whole = ast and setting.seconds <= ast_seconds
    if whole:
        theirs = contestant(
            networks.build(networks.AST_BASE, setting), networks.Definition(setting), replace(setting, batch=1)
        )
        racers.append(replace(theirs, at_most=SLOW_ROUNDS if slow else None))
    if slow:
        racers[0].work()  # warms up
    rows = race(racers, setting.rounds, clock, f"{setting.seconds:g} s")
    if ast and not whole:
        rows.append(_extrapolated(setting, clock, rows[0]))
    if with_memory:
        for row in rows:
            if not row["note"]:
                row |= _memory(row["name"], setting)
    return {"seconds": setting.seconds, "frames": setting.frames, "tokens": tokens(setting.frames), "rows": rows}


def _memory(name: str, setting: Setting) -> dict[str, Any]:
    return {"per_clip_mb": memory.per_clip(name, "forward", setting, None, (1, 2))["per_clip_mb"]}


def _extrapolated(setting: Setting, clock: Clock, first: dict[str, Any]) -> dict[str, Any]:
    """AST from encoders of no layer and of one; a layer of minutes is timed once."""
    x = networks.clip(setting, batch=1)
    seconds = []
    for layers in (0, 1):
        network = AST(setting.frames, layers).to(setting.device).eval()
        with torch.inference_mode(), autocast(setting.device, setting.precision):
            seconds.append(clock.sample(lambda network=network: network(x)).seconds)  # type: ignore[misc]
    total_ms = 1e3 * (seconds[0] + LAYERS * (seconds[1] - seconds[0]))
    ratio = total_ms / first["min_ms"] if "min_ms" in first else None
    return {"name": networks.AST_BASE, "min_ms": total_ms, "ratio": ratio, "note": ONE_LAYER, "wrong": False}


def slopes(points: Sequence[dict[str, Any]], name: str) -> dict[str, float | None]:
    """Exponents of time and of memory: 1 is linear, 2 quadratic; None with fewer than two lengths."""
    found: dict[str, float | None] = {}
    for what, key in (("time", "min_ms"), ("memory", "per_clip_mb")):
        pairs = [(p["seconds"], row[key]) for p in points for row in p["rows"] if row["name"] == name and key in row]
        found[what] = slope(pairs) if len(pairs) > 1 else None
    return found


def slope(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Slope of the straight line through (log x, log y), least squares.

    >>> round(slope([(1, 5), (2, 20), (4, 80)]), 6)
    2.0
    """
    if any(value <= 0 for pair in pairs for value in pair):
        return None  # memory of a tiny clip can be less than noise
    x, y = np.log(np.array(pairs, dtype=np.float64)).T
    return float(np.polyfit(x, y, 1)[0])
