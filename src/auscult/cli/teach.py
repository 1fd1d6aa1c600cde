"""`auscult teach`: what finished runs think of their training cycles, for a smaller network to learn."""

from pathlib import Path

from .process import prepare_process


def teach(*runs: Path, out: Path = Path("teacher.safetensors"), data: Path | None = None, windows: int = 0) -> int:
    """Writes the mean probabilities of finished runs for their training cycles.

    A recipe with ``objective=distil`` learns from the file: ``--set objective=distil --set objective.teacher=FILE``.

    Args:
        runs: run folders of one data set, trained on the same cycles.
        out: the file.
        data: folder of the data set, when it has moved since training.
        windows: unlabelled windows around each training cycle that the runs speak of too; the student hears them
            beside the cycles.
    """
    from ..progress import say
    from ..runs import Run
    from ..teach import teach as write

    prepare_process()
    found = write([Run(run) for run in runs], out, data, windows=windows)
    more = f" and {found['windows']} windows" if windows else ""
    say(f"{out}: {found['taught']} of {found['cycles']} cycles{more}, by {found['runs']} run(s)")
    return 0
