"""The recipe of `auscult demo`: DASS nano on a few hundred synthetic cycles, in a minute or two of two CPU cores."""

from dataclasses import replace

from ..models import LinearHead
from ..optim import AdamW
from ..signal.spectrogram import Input
from .dass import dass_nano
from .recipe import Recipe


def demo() -> Recipe:
    """DASS nano for `auscult demo`, synthetic sounds only: no masks, a batch norm before the head."""
    return replace(
        dass_nano(),
        name="demo",
        input=Input(normalise="mel", specaugment=None),
        head=LinearHead(normalise=True),
        optimizer=AdamW(lr=7e-4, weight_decay=0.05, decay_norms=False),
        epochs=10,
    )
