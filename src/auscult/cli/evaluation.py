"""`auscult evaluate`: a run's named scores, on stdout and in files."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..errors import AuscultError
from .process import prepare_process

FLAG = Parameter(negative="", show_default=False)


def evaluate(
    run: Path,
    /,
    *,
    data: Path | None = None,
    selection: Literal["last", "validation", "best_on_test"] | None = None,
    split: str | None = None,
    on: str | None = None,
    label_map: str | None = None,
    part: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    partial: Annotated[bool, FLAG] = False,
    embedding: Annotated[bool, FLAG] = False,
    out: Path | None = None,
) -> int:
    """Scores a run on the test parts of its data set, and writes scores.json, predictions.csv, shift.csv, report.html.

    With --on it is scored on a data set that it has not learned from: the files are scores_DATASET.json and so on.

    Args:
        run: a run folder.
        data: folder of the data set, if it has moved since training.
        selection: which epoch's weights; the recipe's own choice without it.
        split: another than the recipe's: official or clean; clean drops the test cycles of shared patients.
        on: another data set, whose folder --data names: icbhi, sprsound, own or synthetic.
        label_map: with --on, how classes are read: qlung (rhonchi and stridor as wheeze) without it, or sdat_wheeze.
        part: with --on, a part to score; may be repeated. Test parts of patients apart without it: inter of sprsound.
        partial: with --on, use the recordings that are there when others have no audio.
        embedding: draw the model's features of the first part into the report, by t-SNE; not with --on.
        out: folder for the files; the run folder without it.
    """
    import matplotlib  # noqa: F401  (the report needs it: better said now than after the work)
    from rich.console import Console

    from ..analysis.results import collect, write
    from ..analysis.tables import print_results
    from ..data.label_maps import DEFAULT
    from ..evaluate import evaluate as score
    from ..network import default_device
    from ..out_of_domain import evaluate_on
    from ..progress import say
    from ..runs import Run

    prepare_process()
    source = Run(run)
    device, domain = default_device(), None
    if on is None:
        if label_map or part or partial:
            raise AuscultError("E_SETTING", "--label-map, --part and --partial need --on, the data set to score on.")
        stuff, weights, evaluations = score(source, data=data, selection=selection, split=split, device=device)
    else:
        if embedding:
            raise AuscultError("E_SETTING", f"--embedding shows the data set of the run; leave it out with --on {on}.")
        if data is None or split is not None:
            raise AuscultError("E_SETTING", f"--on {on} needs --data, its folder, and takes no --split.")
        stuff, weights, evaluations, domain = evaluate_on(
            source,
            on,
            data,
            labels=label_map or DEFAULT,
            selection=selection,
            parts=part or None,
            partial=partial,
            device=device,
        )
    results = collect(source, stuff, weights, evaluations, domain)
    print_results(results, Console())
    extra = ""
    if embedding:
        from ..analysis.embedding import embed
        from ..analysis.report import embedding_section

        first = evaluations[0].part
        extra = embedding_section(
            embed(source, part=first, data=data, selection=weights.facts["selection"], device=device), first
        )
    report = write(out or run, results, extra)
    say(f"report: {report}")
    return 0
