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
    from ..network import default_device
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
    from ..network import default_device
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
    from ..network import default_device
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


@analyse.command
def saliency(
    *runs: Path,
    out: Path,
    cycles: int = 64,
    method: Annotated[tuple[Literal["gradient", "integrated_gradients", "occlusion"], ...], Parameter(negative="")] = (
        "gradient",
    ),
    part: str | None = None,
    data: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    seed: int = 0,
) -> int:
    """Draws what speaks for the classes a model names, over the spectrogram, and measures whether that is true.

    Deletion and insertion: the class must become improbable when the most salient cells are replaced first, and
    probable when they come back first. Overlap: the saliency should lie where annotators marked abnormal cycles.

    Args:
        runs: run folders of networks on one data set or several.
        out: folder for saliency.json, and for each run the figure (PNG, PDF) and its caption.
        cycles: so many cycles that the model calls abnormal, and so many recordings with normal and abnormal cycles.
        method: gradient is one backward pass, what the page shows; the others need captum and minutes. Give it again
            for more than one.
        part: part of the data set; the first test part that has audio without it.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; each recipe's own choice without it.
        seed: of the draws.
    """
    import matplotlib  # noqa: F401  (better said now than after the work)
    from rich.console import Console

    from ..analysis.saliency_report import LEGEND, table, write
    from ..analysis.saliency_run import measure
    from ..analysis.tables import show
    from ..errors import AuscultError
    from ..network import default_device
    from ..progress import say
    from ..runs import Run

    if not runs:
        raise AuscultError("E_SETTING", "name the runs: `auscult analyse saliency RUN --out FOLDER`.")
    prepare_process()
    asked: dict[str, Any] = {"part": part, "data": data, "selection": selection, "seed": seed}
    found = []
    for run in runs:
        found.append(measure(Run(run), cycles, method, **asked, device=default_device()))
        show(Console(), f"{run}, part {found[-1].part}: in %", table(found[-1]))
    say(LEGEND)
    for file in write(out, found):
        say(f"wrote {file}")
    return 0


@analyse.command
def segmentation(
    dataset: str,
    /,
    *,
    data: Path,
    part: str | None = None,
    sprsound: Path | None = None,
    fit: Path | None = None,
    out: Path | None = None,
) -> int:
    """Scores the breathing cycles that `auscult segment` finds against the annotated ones, beside fixed windows.

    Boundaries count as found within 0.5 s, one to one. Patients of the training part are segmented by a network that
    has not seen them; the best window length is chosen on the others too.

    Args:
        dataset: icbhi, sprsound, or another data set of annotated cycles.
        data: folder of the data set.
        part: only this one; every part with audio without it.
        sprsound: folder of SPRSound, to fit the networks with.
        fit: first fit the networks anew, on ICBHI and SPRSound, and write them to this file.
        out: folder for segmentation.csv.
    """
    from rich.console import Console

    from ..analysis.segmentation import parts_with_audio, score, table, write
    from ..analysis.tables import show
    from ..data.material import read
    from ..errors import AuscultError
    from ..progress import say

    if (fit is None) != (sprsound is None) or (fit is not None and dataset != "icbhi"):
        raise AuscultError("E_SETTING", "fitting needs icbhi, --sprsound FOLDER and --fit FILE, all three.")
    prepare_process()
    corpus = read(dataset, data)
    if fit is not None and sprsound is not None:
        from ..analysis.segmentation_fit import fit as learn

        learn(corpus, read("sprsound", sprsound), fit)
        say(f"wrote {fit}; it is used once it is signal/breathing.safetensors of the package")
        return 0
    found = [score(corpus, name) for name in ([part] if part else parts_with_audio(corpus))]
    for one in found:
        show(Console(), one.title(corpus.name), table(one))
    if out is not None:
        say(f"wrote {write(out, found)}")
    return 0


@analyse.command
def verdict(dataset: str, *, data: Path, sprsound: Path | None = None, fit: Path | None = None) -> int:
    """Shows which recordings of a data set the quality verdict accepts, by part and by what is in them.

    Args:
        dataset: icbhi, sprsound, or another data set.
        data: folder of the data set.
        sprsound: folder of SPRSound, to fit the verdict with.
        fit: instead: fit the verdict anew, on the training parts of ICBHI and SPRSound, and write it to this file.
    """
    from rich.console import Console

    from ..analysis.tables import show
    from ..analysis.verdict_rates import rate_table, rates, verdicts
    from ..data.material import read
    from ..errors import AuscultError
    from ..progress import say
    from ..runs import write_json

    if (fit is None) != (sprsound is None) or (fit is not None and dataset != "icbhi"):
        raise AuscultError("E_SETTING", "fitting needs icbhi, --sprsound FOLDER and --fit FILE, all three.")
    corpus = read(dataset, data)
    if fit is not None and sprsound is not None:
        from ..analysis.verdict_fit import fit as learn

        write_json(fit, learn(read("sprsound", sprsound), corpus))
        say(f"wrote {fit}; it is used once it is signal/verdict.json of the package")
        return 0
    title = f"{corpus.name}: verdicts on recordings, in %; a recording counts for each class in it"
    show(Console(), title, rate_table(rates(corpus, verdicts(corpus))))
    return 0
