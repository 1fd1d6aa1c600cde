"""The selective scan in the operators of ONNX, for maps of any size: what a graph has in the place of `auscult::ss2d`.

The four directions are four sequences side by side. A sequence is cut into chunks of `STEPS`, all of them walked at
once, then the states at their ends are scanned in the same way, and so on: only decays in (0, 1] are multiplied, as in
`chunked`, of which nothing can be traced: a change in place writes out the map anew in a graph.
"""

from typing import Any

from onnxscript import opset18

op: Any = opset18  # the operators that torch's exporter speaks
STEPS = 16  # in a chunk
MOST_LEVELS = 4  # of chunks of chunks, where the size of the map is not known: 65,536 positions


def ss2d(u: Any, x: Any, dt_weight: Any, dt_bias: Any, A: Any, D_skip: Any, save: bool) -> tuple[Any, Any]:
    """Nodes for one call of the operator; the arguments of `scan.ss2d`, and `save`, which means nothing here.

    Returns:
        What the scan gives, (B, H, W, D), and a stand-in for the states that are kept for the gradients.
    """
    rank, dim = (int(n) for n in dt_weight.shape[1:])
    each = [op.Squeeze(part, _ints(3)) for part in op.Split(x, axis=3, num_outputs=4)]
    low, b, c = _parts(_walks(each, rank + 2), rank)
    delta = softplus(op.Add(op.MatMul(low, dt_weight), op.Unsqueeze(dt_bias, _ints(1))))
    decay = op.Exp(op.Mul(delta, op.Unsqueeze(A, _ints(1))))
    drive = op.Mul(op.Mul(delta, _walks([u] * 4, dim)), b)
    h = _states(decay, drive, dim, _levels(u))
    direct = op.Mul(u, op.ReduceSum(D_skip, _ints(0), keepdims=0))
    return op.Add(_merged(op.Mul(h, c), u), direct), op.Identity(u)


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


def _levels(u: Any) -> int:
    """How often the ends of chunks are chunked again."""
    rows, columns = u.shape[1], u.shape[2]
    if not (isinstance(rows, int) and isinstance(columns, int)):
        return MOST_LEVELS
    return next(level for level in range(1, 20) if STEPS**level >= rows * columns)


def _parts(walks: Any, rank: int) -> list[Any]:
    """The inputs of the step size, B and C."""
    ends = 0, rank, rank + 1, rank + 2
    return [op.Slice(walks, _ints(ends[i]), _ints(ends[i + 1]), _ints(3)) for i in range(3)]


def _flipped(t: Any) -> Any:
    return op.Slice(t, _ints(-1), _ints(-(2**62)), _ints(1), _ints(-1))


def _walks(maps: list[Any], channels: int) -> Any:
    """Four maps (B, H, W, C) as the sequences (B, 4, L, C) that the directions see."""
    lines = []
    for k, t in enumerate(maps):
        line = op.Reshape(op.Transpose(t, perm=[0, 2, 1, 3]) if k % 2 else t, _ints(0, -1, channels))
        lines.append(op.Unsqueeze(_flipped(line) if k >= 2 else line, _ints(1)))
    return op.Concat(*lines, axis=1)


def _merged(y: Any, like: Any) -> Any:
    """Four sequences (B, 4, L, D) put back where they belong and added: (B, H, W, D)."""
    lines = [op.Squeeze(line, _ints(1)) for line in op.Split(y, axis=1, num_outputs=4)]
    rows, columns = (op.Add(lines[k], _flipped(lines[k + 2])) for k in range(2))
    shape = op.Shape(like)
    turned = op.Reshape(columns, op.Gather(shape, _ints(0, 2, 1, 3)))
    return op.Add(op.Reshape(rows, shape), op.Transpose(turned, perm=[0, 2, 1, 3]))


def softplus(z: Any) -> Any:
    """log(1 + exp(z)) as max(z, 0) + 2 atanh(e / (2 + e)), e = exp(-|z|): it needs a log1p, and ONNX has none."""
    e = op.Exp(op.Neg(op.Abs(z)))
    half = op.Atanh(op.Div(e, op.Add(e, op.Constant(value_float=2.0))))
    return op.Add(op.Relu(z), op.Add(half, half))


def _states(decay: Any, drive: Any, dim: int, levels: int) -> Any:
    """`h[l] = decay[l] * h[l - 1] + drive[l]` from `h = 0` along the third axis of (B, 4, L, D)."""
    length, top = op.Shape(drive, start=2, end=3), levels == 1
    missing = op.Sub(_ints(STEPS), length) if top else op.Mod(op.Neg(length), _ints(STEPS))
    ends = op.Concat(_ints(0), missing, axis=0)

    def steps(t: Any) -> list[Any]:
        chunks = op.Reshape(op.Pad(t, ends, None, _ints(2)), _ints(0, 4, 1 if top else -1, STEPS, dim))
        return list(op.Split(chunks, axis=3, num_outputs=STEPS))

    kept, h = steps(decay), steps(drive)
    for step in range(1, STEPS):
        h[step] = op.Add(h[step], op.Mul(kept[step], h[step - 1]))
        if not top:
            kept[step] = op.Mul(kept[step], kept[step - 1])
    states = op.Concat(*h, axis=3)
    if not top:
        reached = _states(op.Squeeze(kept[-1], _ints(3)), op.Squeeze(h[-1], _ints(3)), dim, levels - 1)
        before = op.Slice(op.Pad(reached, _ints(1, 0), None, _ints(2)), _ints(0), _ints(-1), _ints(2))
        states = op.Add(states, op.Mul(op.Concat(*kept, axis=3), op.Unsqueeze(before, _ints(3))))
    return op.Slice(op.Reshape(states, _ints(0, 4, -1, dim)), _ints(0), length, _ints(2))
