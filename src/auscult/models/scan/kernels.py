"""The numba kernels of the processor's scan: four directions in place, states kept every 32 steps, recomputed backward.

A task owns one sample and a block of channels; every thread that calls a kernel takes tasks until none is left. A task
walks each direction along the map's own rows and columns, 32 steps at a time, and adds into the one output; nothing is
copied per direction. The steps at hand live in tiles of one scratch array, so that LLVM turns every innermost loop,
which runs over channels, into vector code.

Three habits below are there for LLVM. Offsets are unsigned, because a signed index would first be tested for Python's
counting from the end; so constants are unsigned too (unsigned plus signed is a float to numba). All tiles are one array
with offsets known when compiling, because separate arrays would be tested for overlap in every row. The offsets of rows
come from a table, because the overlap test of a loop that runs backward is never passed.

Importing this module imports numba.
"""

import logging
from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.extending import intrinsic

log = logging.getLogger(__name__)

STEPS = 32  # in a tile, and between two stored states
WIDEST = 96  # channels in a block

# No 'reassoc': it may delete the rounding in `_exp2`. No 'nnan', 'ninf': a NaN in the input must stay visible.
FAST: dict[str, Any] = {
    "fastmath": {"nsz", "contract", "arcp"},
    "error_model": "numpy",
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
LOOP: dict[str, Any] = {"fastmath": FAST["fastmath"], "error_model": "numpy"}
SUMS: dict[str, Any] = {**FAST, "fastmath": {"nsz", "contract", "reassoc"}}

U = np.uint64
UNKNOWN = 2**40  # length of an array of which only the address is known; nothing is checked against it
_TILE = STEPS * WIDEST + 80  # not a multiple of 4096 bytes: those offsets share cache sets
Z, DECAY, INPUT, SIGMOID, BEFORE, RATE, DY = (U(i * _TILE) for i in range(7))  # tiles, one row a step
BIAS, STATE, FLOW, A, SUM_A, SUM_Z = (U(7 * _TILE + i * WIDEST) for i in range(6))  # rows
SCRATCH = 7 * _TILE + 6 * WIDEST
MAP, X, ROW, PAIR = U(0), U(1), U(2), U(3)  # rows of the table of offsets

ZERO, ONE = np.float32(0), np.float32(1)
LOG2_E = np.float32(np.log2(np.e))
LOWEST = np.float32(-126)  # of a normal power of two
ROUND = np.float32(1.5 * 2**23)  # adding it rounds to an integer, which is then in the low bits
ROUND_BITS = np.int32(ROUND.view(np.int32))
# 2**f on [-1/2, 1/2] and log1p(e) / e on [0, 1]: least squares for the relative error at 2000 Chebyshev nodes,
# reweighted by the error until it is level (Lawson). Largest relative errors 2.0e-9 and 3.0e-8.
P1, P2, P3 = np.float32(0.6931471825), np.float32(0.2402264774), np.float32(0.05550332367)
P4, P5, P6 = np.float32(0.009618436918), np.float32(0.001339887502), np.float32(0.0001535336196)
Q0, Q1, Q2 = np.float32(0.9999999404), np.float32(-0.4999949336), np.float32(0.3331909776)
Q3, Q4, Q5 = np.float32(-0.2484298199), np.float32(0.1910600513), np.float32(-0.1366324276)
Q6, Q7, Q8 = np.float32(0.07822591066), np.float32(-0.02950521372), np.float32(0.005232688040)


@intrinsic
@no_type_check
def _bits(typing_context, x):
    return types.int32(types.float32), lambda c, builder, s, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
@no_type_check
def _float(typing_context, bits):
    return types.float32(types.int32), lambda c, builder, s, args: builder.bitcast(args[0], ir.FloatType())


@njit(**FAST)
@no_type_check
def _exp2(x):
    """2**x for x <= 0; the rounded part goes into the exponent's bits."""
    rounded = x + ROUND
    n = np.int32(_bits(rounded) - ROUND_BITS)
    f = x - (rounded - ROUND)
    p = ((((((P6 * f + P5) * f + P4) * f + P3) * f + P2) * f + P1) * f) + ONE
    power = _float(np.int32(_bits(p) + np.int32(n << np.int32(23))))
    return ZERO if x < LOWEST else power


@njit(**FAST)
@no_type_check
def _log1p(e):
    return ((((((((Q8 * e + Q7) * e + Q6) * e + Q5) * e + Q4) * e + Q3) * e + Q2) * e + Q1) * e + Q0) * e


@njit(**FAST)
@no_type_check
def _offsets(at, sample, k, first, n, rows, columns, channels, rank, lo):
    """Where the steps lie in the map, in x and in the pairs (dB, dC). Past n, the last step again."""
    length = rows * columns
    for i in range(STEPS):
        p = first + min(i, n - 1)
        if k >= 2:
            p = length - 1 - p
        if k & 1:
            p = p % rows * columns + p // rows
        p += sample * length
        at[MAP, i] = U(p * channels + lo)
        at[X, i] = U((p * 4 + k) * (rank + 2))
        at[PAIR, i] = U(2 * p)


@njit(**FAST)
@no_type_check
def _prepare(t, at, bias, a, lo, width):
    """What a direction keeps: its bias, its rates, sums at zero; `lo` counts from the direction 0."""
    for d in range(width):
        t[BIAS + d] = bias[lo + d]
        t[A + d] = a[lo + d]
        t[STATE + d] = ZERO
        t[FLOW + d] = ZERO
        t[SUM_A + d] = ZERO
        t[SUM_Z + d] = ZERO
    for i in range(U(STEPS)):
        at[ROW, i] = i * width
        for d in range(width):
            t[RATE + i * width + d] = a[lo + d] * LOG2_E


@njit(**FAST)
@no_type_check
def _copy(target, to, source, start, width):
    for d in range(width):
        target[to + d] = source[start + d]


@njit(**FAST)
@no_type_check
def _project(t, at, x, weight, w_at, n, rank, width, channels):
    """Z = bias + x @ weight, four steps and two inputs at a time."""
    for i in range(U(0), n, U(4)):
        o0, o1, o2, o3 = at[ROW, i], at[ROW, i + U(1)], at[ROW, i + U(2)], at[ROW, i + U(3)]
        x0, x1, x2, x3 = at[X, i], at[X, i + U(1)], at[X, i + U(2)], at[X, i + U(3)]
        for d in range(width):
            v = t[BIAS + d]
            t[Z + o0 + d] = v
            t[Z + o1 + d] = v
            t[Z + o2 + d] = v
            t[Z + o3 + d] = v
        for r in range(U(0), rank, U(2)):
            p0, p1, p2, p3 = x[x0 + r], x[x1 + r], x[x2 + r], x[x3 + r]
            q0, q1, q2, q3 = x[x0 + r + U(1)], x[x1 + r + U(1)], x[x2 + r + U(1)], x[x3 + r + U(1)]
            row = w_at + r * channels
            for d in range(width):
                v, w = weight[row + d], weight[row + channels + d]
                t[Z + o0 + d] += v * p0 + w * q0
                t[Z + o1 + d] += v * p1 + w * q1
                t[Z + o2 + d] += v * p2 + w * q2
                t[Z + o3 + d] += v * p3 + w * q3


@njit(**FAST)
@no_type_check
def _gather(t, tile, at, source, n, width):
    for i in range(n):
        o, g = at[ROW, i], at[MAP, i]
        for d in range(width):
            t[tile + o + d] = source[g + d]


@njit(**FAST)
@no_type_check
def _scatter(target, at, t, tile, n, width):
    for i in range(n):
        o, g = at[ROW, i], at[MAP, i]
        for d in range(width):
            target[g + d] = t[tile + o + d]


@njit(**FAST)
@no_type_check
def _scatter_add(target, at, t, tile, n, width):
    for i in range(n):
        o, g = at[ROW, i], at[MAP, i]
        for d in range(width):
            target[g + d] += t[tile + o + d]


@njit(**FAST)
@no_type_check
def _activate(t, n):
    """DECAY = exp(A softplus(Z)); INPUT times softplus(Z)."""
    for d in range(n):
        v = t[Z + d]
        delta = (ZERO if v < ZERO else v) + _log1p(_exp2(-abs(v) * LOG2_E))
        t[DECAY + d] = _exp2(delta * t[RATE + d])
        t[INPUT + d] *= delta


@njit(**FAST)
@no_type_check
def _activate_backward(t, n):
    """DECAY = exp(A softplus(Z)); SIGMOID = its derivative; Z = softplus(Z)."""
    for d in range(n):
        v = t[Z + d]
        e = _exp2(-abs(v) * LOG2_E)
        delta = (ZERO if v < ZERO else v) + _log1p(e)
        t[SIGMOID + d] = (e if v < ZERO else ONE) / (ONE + e)
        t[DECAY + d] = _exp2(delta * t[RATE + d])
        t[Z + d] = delta


@njit(**FAST)
@no_type_check
def _steps(t, at, x, y, n, rank, width):
    """Runs a tile of the recurrence and adds C h to the map."""
    for i in range(n):
        b, c = x[at[X, i] + rank], x[at[X, i] + rank + U(1)]
        o, g = at[ROW, i], at[MAP, i]
        for d in range(width):
            h = t[DECAY + o + d] * t[STATE + d] + t[INPUT + o + d] * b
            t[STATE + d] = h
            y[g + d] += h * c


@njit(**SUMS)
@no_type_check
def _states(t, at, x, dbc, n, rank, width):
    """Runs a tile forward again: keeps the state before each step, and finds dC."""
    for i in range(n):
        b, o = x[at[X, i] + rank], at[ROW, i]
        dc = ZERO
        for d in range(width):
            before = t[STATE + d]
            h = t[DECAY + o + d] * before + t[Z + o + d] * (t[INPUT + o + d] * b)
            t[BEFORE + o + d] = before
            t[STATE + d] = h
            dc += t[DY + o + d] * h
        dbc[at[PAIR, i] + U(1)] = dc


@njit(**SUMS)
@no_type_check
def _gradients(t, at, x, dbc, n, rank, width):
    """Runs a tile backward: finds dB, leaves dz in SIGMOID and du in DY.

    FLOW is the gradient that the step after hands to this step's state.
    """
    for j in range(n):
        i = n - U(1) - j
        b, c, o = x[at[X, i] + rank], x[at[X, i] + rank + U(1)], at[ROW, i]
        db = ZERO
        for d in range(width):
            dh = t[FLOW + d] + t[DY + o + d] * c
            decay, delta, u = t[DECAY + o + d], t[Z + o + d], t[INPUT + o + d]
            exponent = dh * t[BEFORE + o + d] * decay
            dz = (exponent * t[A + d] + dh * (u * b)) * t[SIGMOID + o + d]
            t[FLOW + d] = dh * decay
            t[SUM_A + d] += exponent * delta
            t[SUM_Z + d] += dz
            t[SIGMOID + o + d] = dz
            t[DY + o + d] = dh * delta * b
            db += dh * delta * u
        dbc[at[PAIR, i]] = db


@njit(**FAST)
@no_type_check
def _forward_task(task, u, x, weight, bias, a, y, states, rows, columns, channels, rank, block, save):
    blocks = (channels + block - 1) // block
    sample, lo = task // blocks, task % blocks * block
    length, chunks = rows * columns, (rows * columns + STEPS - 1) // STEPS
    width, even = U(min(block, channels - lo)), rank + rank % 2
    t, at = np.zeros(SCRATCH, np.float32), np.empty((4, STEPS), np.uint64)
    for k in range(4):
        _prepare(t, at, bias, a, U(k * channels + lo), width)
        for chunk in range(chunks):
            first = chunk * STEPS
            n = min(STEPS, length - first)
            if save:
                _copy(states, U(((sample * 4 + k) * chunks + chunk) * channels + lo), t, STATE, width)
            _offsets(at, sample, k, first, n, rows, columns, channels, rank, lo)
            _project(t, at, x, weight, U(k * even * channels + lo), U(n), U(rank), width, U(channels))
            _gather(t, INPUT, at, u, U(n), width)
            _activate(t, U(n) * width)
            _steps(t, at, x, y, U(n), U(rank), width)


@no_type_check
def _forward(data):
    """Tasks of the forward until none is left; fills y and, when `save`, states (B, 4, ceil(L / 32), D).

    `data` holds the next task, their number, the arrays u, x, weight, bias, a, y, states, and seven sizes.
    """
    p = carray(data, (16,), np.int64)
    u, x, weight, bias, a, y, states = (
        _at(p[2]), _at(p[3]), _at(p[4]), _at(p[5]), _at(p[6]), _at(p[7]), _at(p[8])
    )  # fmt: skip
    while True:
        task = _next(data)
        if task >= p[1]:
            break
        _forward_task(task, u, x, weight, bias, a, y, states, p[9], p[10], p[11], p[12], p[13], p[14] != 0)


@njit(**FAST)
@no_type_check
def _backward_task(
    task, u, x, weight, bias, a, dy, states, du, dz, dbc, da, dbias, samples, rows, columns, channels, rank, block, k
):
    blocks = (channels + block - 1) // block
    sample, j = task // blocks, task % blocks
    lo = j * block
    length, chunks = rows * columns, (rows * columns + STEPS - 1) // STEPS
    width, even = U(min(block, channels - lo)), rank + rank % 2
    t, at = np.zeros(SCRATCH, np.float32), np.empty((4, STEPS), np.uint64)
    _prepare(t, at, bias, a, U(k * channels + lo), width)
    for back in range(chunks):
        chunk = chunks - 1 - back
        first = chunk * STEPS
        n = min(STEPS, length - first)
        _copy(t, STATE, states, U(((sample * 4 + k) * chunks + chunk) * channels + lo), width)
        _offsets(at, sample, k, first, n, rows, columns, channels, rank, lo)
        for i in range(n):
            at[PAIR, i] += U(2 * j * samples * length)
        _project(t, at, x, weight, U(k * even * channels + lo), U(n), U(rank), width, U(channels))
        _gather(t, INPUT, at, u, U(n), width)
        _gather(t, DY, at, dy, U(n), width)
        _activate_backward(t, U(n) * width)
        _states(t, at, x, dbc, U(n), U(rank), width)
        _gradients(t, at, x, dbc, U(n), U(rank), width)
        _scatter(dz, at, t, SIGMOID, U(n), width)
        _scatter_add(du, at, t, DY, U(n), width)
    _copy(da, U(sample * channels + lo), t, SUM_A, width)
    _copy(dbias, U(sample * channels + lo), t, SUM_Z, width)


@no_type_check
def _backward(data):
    """Tasks of one direction's backward until none is left.

    Fills dz (B, L, D), dbc (blocks, B, L, 2), da and dbias (B, D), and adds to du. `data` holds the next task, their
    number, the arrays u, x, weight, bias, a, dy, states, du, dz, dbc, da, dbias, and seven sizes.
    """
    p = carray(data, (21,), np.int64)
    while True:
        task = _next(data)
        if task >= p[1]:
            break
        _backward_task(
            task, _at(p[2]), _at(p[3]), _at(p[4]), _at(p[5]), _at(p[6]), _at(p[7]), _at(p[8]), _at(p[9]), _at(p[10]),
            _at(p[11]), _at(p[12]), _at(p[13]), p[14], p[15], p[16], p[17], p[18], p[19], p[20],
        )  # fmt: skip


@intrinsic
@no_type_check
def _next(typing_context, data):
    """Takes the number that `data` begins with and leaves the one after, so that no two threads take the same."""

    def generate(context, builder, signature, arguments):
        number = ir.IntType(64)
        counter = builder.bitcast(arguments[0], number.as_pointer())
        return builder.atomic_rmw("add", counter, ir.Constant(number, 1), "monotonic")

    return types.int64(types.voidptr), generate


@intrinsic
@no_type_check
def _pointer(typing_context, address):
    return types.voidptr(types.int64), lambda c, builder, s, args: builder.inttoptr(args[0], ir.IntType(8).as_pointer())


@njit(**FAST)
@no_type_check
def _at(address):
    return carray(_pointer(address), (UNKNOWN,), np.float32)


def compiled(kernel: Callable[..., None]) -> Any:
    """The kernel as a C function of one pointer, from the cache on disk where there is one."""
    signature = types.void(types.voidptr)
    try:
        return cfunc(signature, cache=True, **LOOP)(kernel)
    except (RuntimeError, OSError) as error:
        log.info("the compiled scan is not kept for the next start (%s); set NUMBA_CACHE_DIR to keep it", error)
        return cfunc(signature, **LOOP)(kernel)


def forward() -> Any:
    """The compiled `_forward`."""
    return compiled(_forward)


def backward() -> Any:
    """The compiled `_backward`."""
    return compiled(_backward)
