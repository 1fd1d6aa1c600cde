"""`auscult analyse`: what a trained model does inside."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from .process import prepare_process

FLAG = Parameter(negative="", show_default=False)

analyse = App(name="analyse", help="Looks inside a trained model and draws what it finds.")


@analyse.command
def spectral(
    run: Path,
    /,
    *,
    beside: Path | None = None,
    ast: Annotated[bool, FLAG] = False,
    clips: int = 4,
    part: str | None = None,
    data: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    with_d: Annotated[bool, FLAG] = False,
    out: Path | None = None,
) -> int:
    """Draws the filter response of every layer of a DASS or AST: as Lung-SRAD published it, and in two dimensions.

    Args:
        run: a run folder.
        beside: run folder of an AST trained on the same data set, to draw beside a DASS.
        ast: AST-base of the transformers package beside it, with random weights.
        clips: test clips to average over.
        part: test part the clips come from; the first without it.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; the recipe's own choice without it.
        with_d: the direct path D belongs to the scan's matrix; the paper leaves it out.
        out: folder for figures (PNG, PDF), captions and spectral.csv; RUN/spectral without it.
    """
    import matplotlib  # noqa: F401  (better said now than after the work)

    from ..analysis.spectral_run import analyse as measure
    from ..analysis.spectral_run import write
    from ..progress import say
    from ..runs import Run

    prepare_process()
    rival = None if beside is None else Run(beside)
    spectrum = measure(
        Run(run), beside=rival, ast=ast, clips=clips, part=part, data=data, selection=selection, skip=with_d
    )
    for file in write(out or run / "spectral", spectrum):
        say(f"wrote {file}")
    return 0


@analyse.command
def sharpness(
    *runs: Path,
    out: Path,
    cycles: int = 256,
    directions: int = 5,
    reach: float = 0.5,
    seed: int = 0,
    data: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
) -> int:
    """Measures how sharp the minimum is where each run ended: curvature, and loss around the weights.

    Args:
        runs: run folders, for instance those of a recipe with SAM and without; runs of one recipe share a colour.
        out: folder for the figure (PNG, PDF), its caption, sharpness.csv and sharpness_curves.csv.
        cycles: training cycles to measure on, drawn as in training.
        directions: random directions.
        reach: how far along them; 1 moves each filter by its own length.
        seed: of cycles and directions.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; each recipe's own choice without it.
    """
    import matplotlib  # noqa: F401  (better said now than after the work)

    from ..analysis.sharpness_run import Settings, measure_all, write
    from ..progress import say
    from ..runs import Run

    prepare_process()
    settings = Settings(cycles=cycles, directions=directions, reach=reach, seed=seed)
    found = measure_all([Run(run) for run in runs], settings, data=data, selection=selection)
    for file in write(out, found, settings):
        say(f"wrote {file}")
    return 0


@analyse.command
def shift(
    *runs: Path,
    out: Path | None = None,
    part: str | None = None,
    task: str | None = None,
    on: str | None = None,
) -> int:
    """Draws where scored runs are better and worse: by class, device, chest site, age, sex, bandwidth, audio quality
    and duration, each group against the rest. Needs no audio.

    Args:
        runs: scored run folders, or folders of them such as a study's; runs of one recipe become their mean.
        out: folder for the figure (PNG, PDF), its caption and shift.csv; RUN/shift without it, for one run.
        part: part of the data set; the first that was scored without it.
        task: name of the task, as scores.json has it; the one of most classes without it.
        on: the data set, where scores of `auscult evaluate --on` are meant.
    """
    import matplotlib  # noqa: F401  (better said now than after the work)

    from ..analysis.shift_run import shift as report
    from ..analysis.shift_run import write
    from ..errors import AuscultError
    from ..progress import say

    if not runs or (out is None and len(runs) > 1):
        raise AuscultError("E_SETTING", "name the runs: `auscult analyse shift RUN`, or several and --out FOLDER.")
    found = report(runs, part=part, task=task, on=on)
    for remark in found.remarks:
        say(remark)
    for file in write(out or runs[0] / "shift", found):
        say(f"wrote {file}")
    return 0


@analyse.command
def embedding(
    run: Path,
    /,
    *,
    part: str | None = None,
    data: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    seed: int = 0,
    out: Path | None = None,
) -> int:
    """Draws where a model puts the cycles of a part: t-SNE of its features, by class and by device or site.

    Args:
        run: a run folder.
        part: part of the data set; the first test part that has audio without it.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; the recipe's own choice without it.
        seed: of the t-SNE.
        out: folder for the figure (PNG, PDF), its caption and embedding.csv; RUN/embedding without it.
    """
    import matplotlib  # noqa: F401  (better said now than after the work)

    from ..analysis.embedding import embed, write
    from ..predict import default_device
    from ..progress import say
    from ..runs import Run

    prepare_process()
    found = embed(Run(run), part=part, data=data, selection=selection, seed=seed, device=default_device())
    for file in write(out or run / "embedding", found):
        say(f"wrote {file}")
    return 0


@analyse.command
def attention(
    run: Path,
    /,
    *,
    part: str | None = None,
    data: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    out: Path | None = None,
) -> int:
    """Draws where a trained AST looks: attention over the spectrogram, at the surest cycle of each class.

    Args:
        run: a run folder of an AST.
        part: part of the data set; the first test part that has audio without it.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; the recipe's own choice without it.
        out: folder for the figure (PNG, PDF), its caption and attention.csv; RUN/attention without it.
    """
    import matplotlib  # noqa: F401  (better said now than after the work)

    from ..analysis.attention import attend, write
    from ..predict import default_device
    from ..progress import say
    from ..runs import Run

    prepare_process()
    found = attend(Run(run), part=part, data=data, selection=selection, device=default_device())
    for file in write(out or run / "attention", found):
        say(f"wrote {file}")
    return 0


@analyse.command
def calibration(
    run: Path,
    /,
    *,
    sensitivity: float | None = None,
    specificity: float | None = None,
    risk: float = 0.1,
    data: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    out: Path | None = None,
) -> int:
    """Calibrates a run on its validation patients, chooses an operating point there, and shows both on the test.

    RUN/calibration.json, which `auscult predict --calibrated` reads, gets the temperature, the threshold on
    P(abnormal), and the confidence below which a prediction is left to a listener.

    Args:
        run: a run folder.
        sensitivity: the operating point finds at least this share of the abnormal validation cycles; 0.9 without it.
        specificity: instead: it finds at least this share of the normal ones.
        risk: share of wrong predictions that may remain when the least confident are left out.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; the recipe's own choice without it.
        out: folder for the figure (PNG, PDF), its caption and the tables behind it; RUN/calibration without it.
    """
    import matplotlib  # noqa: F401  (better said now than after the work)
    from rich.console import Console

    from ..analysis.calibration_figure import summary
    from ..analysis.calibration_run import calibrate, write
    from ..analysis.tables import show
    from ..errors import AuscultError
    from ..predict import default_device
    from ..progress import say
    from ..runs import Run

    if sensitivity is not None and specificity is not None:
        raise AuscultError("E_SETTING", "--sensitivity and --specificity: an operating point can reach one; give one.")
    prepare_process()
    asked: dict[str, Any] = {"side": "Se" if specificity is None else "Sp"}
    asked["target"] = specificity if specificity is not None else 0.9 if sensitivity is None else sensitivity
    found = calibrate(Run(run), **asked, risk=risk, data=data, selection=selection, device=default_device())
    show(Console(), f"{found.where}: in %, chosen on validation", summary(found))
    for remark in found.remarks:
        say(remark)
    for file in write(run, out or run / "calibration", found):
        say(f"wrote {file}")
    return 0
