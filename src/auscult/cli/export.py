"""`auscult export`: a run as one file that can be given away."""

from pathlib import Path

from .process import prepare_process


def export(run: Path, out: Path, /, *, data: Path | None = None, selection: str | None = None) -> int:
    """Writes a run as one weights file: preprocessing, labels, temperature, thresholds and checksum are in it.

    Temperature and thresholds are chosen on the patients that training held out. `auscult predict --model FILE` and
    `auscult serve --model FILE` take the file.

    Args:
        run: a finished run folder.
        out: the file, .safetensors.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; the recipe's own choice without it.
    """
    from ..errors import AuscultError
    from ..export import export as write
    from ..progress import say
    from ..runs import Run

    if out.suffix != ".safetensors":
        raise AuscultError("E_SETTING", f"{out}: the file's name must end in .safetensors.")
    prepare_process()
    choice = write(Run(run), out, data=data, selection=selection)
    measured = choice.measured or {}
    say(
        f"{out}: {out.stat().st_size / 2**20:.1f} MiB; breaths abnormal from {choice.threshold:.2f}, recordings from "
        f"{choice.recording:.2f}, nothing said between {choice.unsure[0]:.2f} and {choice.unsure[1]:.2f}; chosen on "
        f"{measured.get('breaths')} breaths of {measured.get('patients')} held-out patients"
    )
    return 0
