"""Fades and padding against numbers worked out by hand."""

import numpy as np
import pytest

from auscult.signal.pad import cyclic, fade, zero


def test_a_fade_of_1000_has_the_published_weights() -> None:
    faded = fade(np.ones(5000, np.float32), 1000, 1000)
    assert faded[0] == 0 and faded[-1] == 0
    assert faded[999] == 1 and faded[-1000] == 1
    assert faded[-999] == pytest.approx(0.998999, abs=1e-6)
    assert faded[-500] == pytest.approx(0.4995, abs=1e-6)
    assert np.array_equal(faded, faded[::-1])
    assert np.all(faded[1000:4000] == 1)
    assert faded.dtype == np.float32


def test_fades_that_overlap_multiply() -> None:
    assert fade(np.ones(3), 3, 3) == pytest.approx([0, 0.25, 0])


def test_a_fade_longer_than_the_waveform_spans_it() -> None:
    assert fade(np.ones(3), 0, 100) == pytest.approx([1, 0.5, 0])


def test_no_fade_changes_nothing_and_returns_a_copy() -> None:
    waveform = np.ones(4)
    same = fade(waveform, 0, 0)
    same[:] = 7
    assert np.all(waveform == 1)


@pytest.mark.parametrize("length", [1, 5, 6, 7, 12, 100])
def test_cyclic_repeats_without_a_seam(length: int) -> None:
    waveform = np.arange(1, 7, dtype=np.float32)
    assert np.array_equal(cyclic(waveform, length, 0), [waveform[i % 6] for i in range(length)])


def test_cyclic_fades_only_the_end_and_only_what_it_repeats() -> None:
    ones = np.ones(300, np.float32)
    repeated = cyclic(ones, 1000, 100)
    assert np.all(repeated[:900] == 1) and repeated[-1] == 0
    assert cyclic(ones, 300, 100)[-1] == 0  # exactly as long: faded, as in the published code
    assert np.all(cyclic(ones, 299, 100) == 1)  # longer: cut, not faded
    assert np.all(ones == 1)


def test_zero_centres() -> None:
    assert np.array_equal(zero(np.array([1.0, 2.0, 3.0]), 8), [0, 0, 1, 2, 3, 0, 0, 0])
    assert np.array_equal(zero(np.arange(5.0), 3), [0, 1, 2])


@pytest.mark.parametrize("pad", [lambda w, n: cyclic(w, n, 0), zero])
def test_nothing_cannot_be_padded(pad) -> None:
    with pytest.raises(ValueError, match="out of 0"):
        pad(np.zeros(0), 10)
    with pytest.raises(ValueError, match="cannot make 0"):
        pad(np.ones(3), 0)


def test_a_negative_fade_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        fade(np.ones(3), -1, 0)
