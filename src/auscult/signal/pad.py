"""Fades, and three ways to make a breathing cycle as long as the network wants it.

Source: the ICBHI pipeline of Moummad & Farrugia (2023, SCL), used by Bae et al. (2023, Patch-Mix) and later work.
Every function returns a new array.
"""

import numpy as np
from jaxtyping import Float


def fade(waveform: Float[np.ndarray, "S"], fade_in: int, fade_out: int) -> Float[np.ndarray, "S"]:
    """Linear fades over the first `fade_in` and the last `fade_out` samples, as in torchaudio's ``Fade``.

    A fade longer than the waveform becomes as long as the waveform (torchaudio fails there).

    >>> fade(np.ones(8), 0, 5)
    array([1.  , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    """
    if fade_in < 0 or fade_out < 0:
        raise ValueError(f"fades of {fade_in} and {fade_out} samples; both must be 0 or more")
    faded = waveform.copy()
    n_in, n_out = min(fade_in, len(faded)), min(fade_out, len(faded))
    faded[:n_in] *= np.linspace(0, 1, n_in, dtype=faded.dtype)
    faded[len(faded) - n_out :] *= np.linspace(1, 0, n_out, dtype=faded.dtype)
    return faded


def cyclic(waveform: Float[np.ndarray, "S"], length: int, fade_out: int) -> Float[np.ndarray, "S_out"]:
    """The waveform repeated to `length` samples, then a linear fade over the last `fade_out` of them.

    No cross-fade at the seams. A longer waveform keeps its first `length` samples and is not faded.

    >>> cyclic(np.array([1.0, 2.0, 3.0]), 7, 0)
    array([1., 2., 3., 1., 2., 3., 1.])
    """
    _check(waveform, length)
    if len(waveform) > length:
        return waveform[:length].copy()
    return fade(np.resize(waveform, length), 0, fade_out)


def zero(waveform: Float[np.ndarray, "S"], length: int) -> Float[np.ndarray, "S_out"]:
    """The waveform in the middle of `length` samples, zeros around it (the odd one behind).

    A longer waveform keeps its first `length` samples.

    >>> zero(np.array([1.0, 2.0, 3.0]), 6)
    array([0., 1., 2., 3., 0., 0.])
    """
    _check(waveform, length)
    kept = waveform[:length]
    before = (length - len(kept)) // 2
    return np.pad(kept, (before, length - len(kept) - before))


def _check(waveform: np.ndarray, length: int) -> None:
    if len(waveform) == 0 or length < 1:
        raise ValueError(f"cannot make {length} samples out of {len(waveform)}; both must be 1 or more")
