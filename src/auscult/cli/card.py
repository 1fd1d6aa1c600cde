"""`auscult card`: the model card of a run."""

from pathlib import Path


def card(run: Path, /, *, data: Path | None = None, out: Path | None = None) -> int:
    """Writes the model card of a scored run: the items of TRIPOD+AI that its files can fill, and which they cannot.

    Args:
        run: a run folder that `auscult evaluate` has scored.
        data: folder of the data set, if it has moved since training; only its annotations are read.
        out: the file; RUN/model_card.md without it.
    """
    from ..analysis.card import card as card_of
    from ..progress import say
    from ..runs import Run, write_text

    file = out or run / "model_card.md"
    write_text(file, card_of(Run(run), data))
    say(f"model card: {file}")
    return 0
