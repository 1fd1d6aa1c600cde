"""The Triton kernels of the scan on a GPU: every tile of every direction at once, in three passes.

A tile is a run of steps along rows (directions 0 and 2) or columns (1 and 3), times a block of channels. `summarise`
finds what each tile does to a state that enters it: the product of its decays and the state that it makes from zero.
`enter` chains these into the state before each tile. `outputs` and `gradients` then do each tile on its own, both
directions of a line in one program, from one copy of the map in registers. The gradients run the same three passes the
other way for the adjoint `g`, where `g[l] = C[l] dy[l] + decay[l + 1] g[l + 1]`.

No program writes where another does, and none adds to memory that another reads in the same launch: results repeat bit
for bit. Offsets over samples, positions and planes are 64 bits wide, as maps may hold more than 2^31 values.

Only triton's builtins are used, not the functions of its own library: those it compiles or interprets as it saw fit
when it was first imported, these as TRITON_INTERPRET says when this module is. Importing it imports triton.
"""

from typing import no_type_check

import triton
import triton.language as tl

# log1p(e) / e on [0, 1] with a relative error of 3.0e-8, the polynomial of the processor's kernels (kernels.py):
# log(1 + e) would lose the small step sizes.
Q0, Q1, Q2 = tl.constexpr(0.9999999404), tl.constexpr(-0.4999949336), tl.constexpr(0.3331909776)
Q3, Q4, Q5 = tl.constexpr(-0.2484298199), tl.constexpr(0.1910600513), tl.constexpr(-0.1366324276)
Q6, Q7, Q8 = tl.constexpr(0.07822591066), tl.constexpr(-0.02950521372), tl.constexpr(0.005232688040)

SIZES = ["rows", "columns", "tiles", "samples"]  # one compiled kernel for maps of every size


@triton.jit
@no_type_check
def _plus(a, b):
    return a + b


@triton.jit
@no_type_check
def _then(decay, state, next_decay, next_state):
    """Two stretches of the recurrence, the second after the first."""
    return decay * next_decay, tl.fma(next_decay, state, next_state)


@triton.jit
@no_type_check
def _after(kept, left, drive, own_kept, own_left, own_drive):
    """As `_then`, but with the last step's decayed state and its drive apart, as the gradients want the former.

    Their sum less the drive would be rounding alone where a large step leaves almost nothing.
    """
    return kept * own_kept, tl.fma(own_kept, left + drive, own_left), own_drive


@triton.jit
@no_type_check
def _before(decay, kept, g, own_decay, own_kept, own_g):
    """The adjoint of a stretch before those already joined: what reaches its first step passes all later decays.

    A stretch is (the decay of its first step, what an adjoint entering at its end keeps on the way to that step, the
    adjoint there without one). As no step's own decay acts on its own g, the recurrence needs no shifted decays.
    """
    through = own_kept * decay
    return own_decay, through * kept, tl.fma(through, g, own_g)


@triton.jit
@no_type_check
def _log1p(e):
    q = tl.fma(tl.fma(tl.fma(tl.fma(e, Q8, Q7), e, Q6), e, Q5), e, Q4)
    return e * tl.fma(tl.fma(tl.fma(tl.fma(q, e, Q3), e, Q2), e, Q1), e, Q0)


@triton.jit
@no_type_check
def _place(step, k, rows, columns):
    """Where a step of direction k lies in the map. Reversed directions count their steps from the other end."""
    return tl.where(k % 2 == 1, step % rows * columns + step // rows, step)


@triton.jit
@no_type_check
def _row(pointer, lane, D: tl.constexpr):
    """One value per channel of the block, zero beyond the last channel."""
    return tl.load(pointer + lane, mask=lane < D, other=0.0).to(tl.float32)


@triton.jit
@no_type_check
def _tile(pointer, place, inside, lane, D: tl.constexpr):
    """The map at these places, (steps, channels), zero outside."""
    offset = place.to(tl.int64)[:, None] * D + lane[None, :]
    return tl.load(pointer + offset, mask=inside[:, None] & (lane < D)[None, :], other=0.0).to(tl.float32)


@triton.jit
@no_type_check
def _weight(weight, bias, k, first, lane, D: tl.constexpr, R: tl.constexpr):
    """16 rows of dt_weight[k] from row `first`, (16, channels), with dt_bias as row R and zeros after it."""
    r = first + tl.arange(0, 16)
    mask = (r < R)[:, None] & (lane < D)[None, :]
    w = tl.load(weight + (k * R + r[:, None]) * D + lane[None, :], mask=mask, other=0.0).to(tl.float32)
    return tl.where((r == R)[:, None], _row(bias + k * D, lane, D)[None, :], w)


@triton.jit
@no_type_check
def _low(x, inside, first, R: tl.constexpr):
    """16 inputs of the step size from input `first`, (steps, 16), with a one for the bias as input R."""
    r = first + tl.arange(0, 16)[None, :]
    low = tl.load(x[:, None] + r, mask=inside[:, None] & (r < R), other=0.0).to(tl.float32)
    return tl.where(r == R, 1.0, low)


@triton.jit
@no_type_check
def _project(
    x, weight, bias, k, inside, lane,
    D: tl.constexpr, R: tl.constexpr, STEPS: tl.constexpr, LANES: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The step size before its softplus, 16 inputs at a time: all at once would take more registers than there are."""
    z = tl.full((STEPS, LANES), 0.0, tl.float32)
    for first in tl.range(0, R + 1, 16, num_stages=1):
        low, w = _low(x, inside, first, R), _weight(weight, bias, k, first, lane, D, R)
        z = tl.dot(low, w, z, input_precision=PRECISION)
    return z


@triton.jit
@no_type_check
def _column(x, at: tl.constexpr, inside):
    return tl.load(x + at, mask=inside, other=0.0).to(tl.float32)[:, None]


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def summarise(
    value, x, weight, bias, A, decays, states, rows, columns, tiles,
    D: tl.constexpr, R: tl.constexpr, STEPS: tl.constexpr, LANES: tl.constexpr,
    ADJOINT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The product of each tile's decays, and the state it makes from zero; grid (tiles * blocks, samples, 4).

    `value` is u; with ADJOINT it is dy, and the state is the one that the tile hands to the tile before it.
    """
    blocks: tl.constexpr = (D + LANES - 1) // LANES
    tile, k = tl.program_id(0) // blocks, tl.program_id(2)
    sample, lane = tl.program_id(1).to(tl.int64), tl.program_id(0) % blocks * LANES + tl.arange(0, LANES)
    length, row = rows * columns, tl.arange(0, STEPS)
    step = tile * STEPS + tl.where((k // 2) ^ ADJOINT == 1, STEPS - 1 - row, row)  # in the order of the walk
    inside = step < length
    place = sample * length + _place(step, k, rows, columns)
    x += (place * 4 + k) * (R + 2)
    v = _tile(value, place, inside, lane, D)
    z = _project(x, weight, bias, k, inside, lane, D, R, STEPS, LANES, PRECISION)
    delta = tl.maximum(z, 0.0) + _log1p(tl.exp(-tl.abs(z)))
    decay = tl.where(inside[:, None], tl.exp(delta * _row(A + k * D, lane, D)[None, :]), 1.0)
    if ADJOINT:
        drive = decay * (_column(x, R + 1, inside) * v)
    else:
        drive = delta * (_column(x, R, inside) * v)
    decay, state = tl.associative_scan((decay, drive), 0, _then)
    last = (row == STEPS - 1)[:, None]
    to = ((sample * 4 + k) * tiles + tile) * D + lane
    tl.store(decays + to, tl.reduce(tl.where(last, decay, 0.0), 0, _plus), mask=lane < D)
    tl.store(states + to, tl.reduce(tl.where(last, state, 0.0), 0, _plus), mask=lane < D)


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def enter(
    decays, states, entering, tiles,
    D: tl.constexpr, STEPS: tl.constexpr, LANES: tl.constexpr, ADJOINT: tl.constexpr,
):  # fmt: skip
    """The state that enters each tile, from the summaries of those before it; grid (blocks, samples, 4)."""
    lane, k = tl.program_id(0) * LANES + tl.arange(0, LANES), tl.program_id(2)
    base = (tl.program_id(1).to(tl.int64) * 4 + k) * tiles
    backward, row = (k // 2) ^ ADJOINT, tl.arange(0, STEPS)
    carry = tl.full((LANES,), 0.0, tl.float32)
    tl.store(entering + (base + backward * (tiles - 1)) * D + lane, carry, mask=lane < D)
    first = 0
    while first < tiles:  # the interpreter of triton 3.6 has no `range` up to an argument under newer numpy
        turn = first + row
        tile = base + tl.where(backward == 1, tiles - 1 - turn, turn)
        mask, offset = (turn < tiles)[:, None] & (lane < D)[None, :], tile[:, None] * D + lane[None, :]
        decay = tl.load(decays + offset, mask=mask, other=1.0)
        state = tl.load(states + offset, mask=mask, other=0.0)
        decay, state = tl.associative_scan((decay, state), 0, _then)
        state = tl.fma(decay, tl.broadcast_to(carry[None, :], (STEPS, LANES)), state)
        mask = (turn + 1 < tiles)[:, None] & (lane < D)[None, :]
        tl.store(entering + offset + tl.where(backward == 1, -D, D), state, mask=mask)
        carry = tl.reduce(tl.where((row == STEPS - 1)[:, None], state, 0.0), 0, _plus)
        first += STEPS


@triton.jit
@no_type_check
def _read_out(
    u, x, weight, bias, A, entering, k, place, inside, lane,
    D: tl.constexpr, R: tl.constexpr, STEPS: tl.constexpr, LANES: tl.constexpr,
    BACK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """C h of direction k over one tile."""
    x += (place * 4 + k) * (R + 2)
    z = _project(x, weight, bias, k, inside, lane, D, R, STEPS, LANES, PRECISION)
    delta = tl.maximum(z, 0.0) + _log1p(tl.exp(-tl.abs(z)))
    decay = tl.where(inside[:, None], tl.exp(delta * _row(A + k * D, lane, D)[None, :]), 1.0)
    decay, h = tl.associative_scan((decay, delta * (_column(x, R, inside) * u)), 0, _then, reverse=BACK)
    before = _row(entering, lane, D)
    return _column(x, R + 1, inside) * tl.fma(decay, tl.broadcast_to(before[None, :], (STEPS, LANES)), h)


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def outputs(
    u, x, weight, bias, A, skip, entering, by_row, y, rows, columns, tiles,
    D: tl.constexpr, R: tl.constexpr, STEPS: tl.constexpr, LANES: tl.constexpr,
    COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """C h of both directions along rows, into `by_row`; then along columns, with `by_row` and the direct path, into y.

    Grid (tiles * blocks, samples).
    """
    blocks: tl.constexpr = (D + LANES - 1) // LANES
    tile, sample = tl.program_id(0) // blocks, tl.program_id(1).to(tl.int64)
    lane = tl.program_id(0) % blocks * LANES + tl.arange(0, LANES)
    step, length = tile * STEPS + tl.arange(0, STEPS), rows * columns
    inside = step < length
    place = sample * length + _place(step, COLUMNS, rows, columns)
    v = _tile(u, place, inside, lane, D)
    state = entering + ((sample * 4 + COLUMNS) * tiles + tile) * D
    total = _read_out(v, x, weight, bias, A, state, COLUMNS, place, inside, lane, D, R, STEPS, LANES, False, PRECISION)
    state += 2 * tiles * D
    total += _read_out(
        v, x, weight, bias, A, state, COLUMNS + 2, place, inside, lane, D, R, STEPS, LANES, True, PRECISION
    )
    offset, mask = place[:, None] * D + lane[None, :], inside[:, None] & (lane < D)[None, :]
    if COLUMNS:
        direct = _row(skip, lane, D) + _row(skip + D, lane, D) + _row(skip + 2 * D, lane, D)
        total += (direct + _row(skip + 3 * D, lane, D))[None, :] * v + tl.load(by_row + offset, mask=mask, other=0.0)
        tl.store(y + offset, total.to(y.dtype.element_ty), mask=mask)
    else:
        tl.store(by_row + offset, total, mask=mask)


@triton.jit
@no_type_check
def _gradient(
    u, dy, x, weight, bias, A, entering, adjoint, d_skip, dx, sums, k, place, inside, lane,
    D: tl.constexpr, R: tl.constexpr, STEPS: tl.constexpr, LANES: tl.constexpr,
    BACK: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Direction k's share of du over one tile; stores the shares of the other gradients."""
    x += (place * 4 + k) * (R + 2)
    b, rate = _column(x, R, inside), _row(A + k * D, lane, D)[None, :]
    z = _project(x, weight, bias, k, inside, lane, D, R, STEPS, LANES, PRECISION)
    e = tl.exp(-tl.abs(z))
    delta = tl.maximum(z, 0.0) + _log1p(e)
    decay = tl.where(inside[:, None], tl.exp(delta * rate), 1.0)

    bu, nothing = b * u, tl.full((STEPS, LANES), 0.0, tl.float32)
    kept, left, drive = tl.associative_scan((decay, nothing, delta * bu), 0, _after, reverse=BACK)
    left = tl.fma(kept, tl.broadcast_to(_row(entering, lane, D)[None, :], (STEPS, LANES)), left)

    one = tl.full((STEPS, LANES), 1.0, tl.float32)
    _, kept, g = tl.associative_scan((decay, one, _column(x, R + 1, inside) * dy), 0, _before, reverse=not BACK)
    g = tl.fma(kept, tl.broadcast_to(_row(adjoint, lane, D)[None, :], (STEPS, LANES)), g)
    g = tl.where(inside[:, None], g, 0.0)  # beyond the end the recurrence carries it on

    g_delta, g_decay = g * delta, g * left
    dz = tl.fma(g_decay, tl.broadcast_to(rate, (STEPS, LANES)), g * bu) * (tl.where(z > 0, 1.0, e) / (1.0 + e))
    to = dx + (place * 4 + k) * (R + 2)
    tl.store(to + R, tl.reduce(g_delta * u, 1, _plus), mask=inside)
    tl.store(to + R + 1, tl.reduce(dy * (left + drive), 1, _plus), mask=inside)
    for first in tl.range(0, R + 1, 16, num_stages=1):
        r, low, w = first + tl.arange(0, 16), _low(x, inside, first, R), _weight(weight, bias, k, first, lane, D, R)
        d_low = tl.dot(dz, tl.trans(w), input_precision=PRECISION)
        tl.store(to[:, None] + r[None, :], d_low, mask=inside[:, None] & (r < R)[None, :])
        d_weight = tl.dot(tl.trans(low), dz, input_precision=PRECISION)
        tl.store(sums + r[:, None] * D + lane[None, :], d_weight, mask=(r <= R)[:, None] & (lane < D)[None, :])
    tl.store(sums + (R + 1) * D + lane, tl.reduce(g_decay * delta, 0, _plus), mask=lane < D)
    tl.store(sums + (R + 2) * D + lane, d_skip, mask=lane < D)
    return g_delta * b


@triton.jit(do_not_specialize=SIZES)
@no_type_check
def gradients(
    u, dy, x, weight, bias, A, skip, entering, adjoint, by_row, du, dx, sums, rows, columns, tiles, samples,
    D: tl.constexpr, R: tl.constexpr, STEPS: tl.constexpr, LANES: tl.constexpr,
    COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All gradients of both directions along rows or columns; grid (tiles * blocks, samples).

    du as y in `outputs`. dx holds one plane per block of channels, `sums` one per tile and direction: R rows of
    dt_weight, then dt_bias, A and D_skip. Summing the planes is left to the caller.
    """
    blocks: tl.constexpr = (D + LANES - 1) // LANES
    block = tl.program_id(0) % blocks
    tile, sample = tl.program_id(0) // blocks, tl.program_id(1).to(tl.int64)
    lane = block * LANES + tl.arange(0, LANES)
    step, length = tile * STEPS + tl.arange(0, STEPS), rows * columns
    inside = step < length
    place = sample * length + _place(step, COLUMNS, rows, columns)
    v, dv = _tile(u, place, inside, lane, D), _tile(dy, place, inside, lane, D)
    before = ((sample * 4 + COLUMNS) * tiles + tile) * D
    plane = dx + block.to(tl.int64) * samples * length * (4 * (R + 2))
    share = sums + ((sample * tiles + tile) * 4 + COLUMNS) * ((R + 3) * D)
    d_skip = tl.reduce(v * dv, 0, _plus)
    total = _gradient(
        v, dv, x, weight, bias, A, entering + before, adjoint + before, d_skip, plane, share, COLUMNS,
        place, inside, lane, D, R, STEPS, LANES, False, PRECISION,
    )  # fmt: skip
    before += 2 * tiles * D
    share += 2 * (R + 3) * D
    total += _gradient(
        v, dv, x, weight, bias, A, entering + before, adjoint + before, d_skip, plane, share, COLUMNS + 2,
        place, inside, lane, D, R, STEPS, LANES, True, PRECISION,
    )  # fmt: skip
    offset, mask = place[:, None] * D + lane[None, :], inside[:, None] & (lane < D)[None, :]
    if COLUMNS:
        direct = _row(skip, lane, D) + _row(skip + D, lane, D) + _row(skip + 2 * D, lane, D)
        total += (direct + _row(skip + 3 * D, lane, D))[None, :] * dv + tl.load(by_row + offset, mask=mask, other=0.0)
        tl.store(du + offset, total.to(du.dtype.element_ty), mask=mask)
    else:
        tl.store(by_row + offset, total, mask=mask)
