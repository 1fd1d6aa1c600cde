"""The model in the package: `auscult predict` uses it where no other is named. docs/model.md has its commands."""

from dataclasses import replace

from .dass import dass_nano
from .recipe import Recipe


def auscult_nano() -> Recipe:
    """`dass_nano` in bf16 for the pooled data set: ``auscult train auscult_nano --dataset pooled --data DIR``.

    From random weights. The model in the package has learned with ``objective=distil`` besides: docs/model.md.
    """
    return replace(dass_nano(), name="auscult_nano", precision="bf16", epochs=20)
