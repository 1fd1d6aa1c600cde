"""`auscult train` and `auscult demo`."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ..errors import AuscultError
from .process import prepare_process

FLAG = Parameter(negative="", show_default=False)


def demo(*, out: Path = Path("demo"), seed: int = 0) -> int:
    """Shows the whole path in a few minutes: makes synthetic breath sounds, trains on them, evaluates, predicts.

    An earlier demo in the same folder is replaced. Its scores say nothing about real lungs.

    Args:
        out: folder for corpus, run and report.
        seed: of corpus and training.
    """
    from ..demo import demo as show

    prepare_process()
    show(out, seed)
    return 0


def train(
    recipe: str,
    /,
    *,
    dataset: str,
    data: Path,
    out: Path | None = None,
    seed: int = 0,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    resume: Annotated[bool, FLAG] = False,
    partial: Annotated[bool, FLAG] = False,
    track: str | None = None,
    processes: int = 1,
    engine: Literal["local", "ray"] = "local",
) -> int:
    """Trains a recipe and leaves a run folder.

    Args:
        recipe: name of a recipe; `auscult list recipes` shows them.
        dataset: icbhi, sprsound, own (see docs/own_recordings.md), or synthetic.
        data: folder of the data set.
        out: the run folder; runs/DATE-RECIPE-DATASET-sSEED without it.
        seed: of weights, order and masks.
        set_: a setting of the recipe, KEY=VALUE, for instance epochs=10 or optimizer.lr=3e-4; may be repeated.
        resume: go on with the run in the folder given by --out.
        partial: train on the recordings that are there when others have no audio.
        track: what shows the curves beside metrics.jsonl: tensorboard (in RUN/tensorboard, the default where it is
            installed), another tracker that accelerate knows, such as wandb, or none.
        processes: this many processes of this machine share every batch, each with a GPU of its own or its part of the
            cores; the batch stays as large as the recipe says.
        engine: local starts them here; with ray they may be of the cluster of RAY_ADDRESS, and the training goes on by
            itself when one dies (docs/many_machines.md).
    """
    if resume and out is None:
        raise AuscultError("E_SETTING", "--resume needs --out, the folder of the run to go on with.")
    from ..config import override
    from ..progress import say
    from ..recipes import recipe as recipe_named
    from ..train import train as fit

    prepare_process()
    settings = override(recipe_named(recipe), set_)
    folder = out or fresh(Path("runs"), f"{date.today()}-{recipe}-{dataset}-s{seed}")
    try:
        how: Any = {"seed": seed, "resume": resume, "partial": partial, "track": track}
        if engine == "ray":
            from ..train_ray import train_by_ray

            run = train_by_ray(settings, dataset, data, folder, processes, prepare=prepare_process, **how)
        elif processes == 1:
            run = fit(settings, dataset, data, folder, **how)
        else:
            from ..launch import train_together

            run = train_together(settings, dataset, data, folder, processes, **how)
    except KeyboardInterrupt:
        say(f"the whole epochs are kept in {folder}; the same command with --out {folder} --resume goes on")
        raise
    print(f"trained: {run.folder}")
    say(f"`auscult evaluate {run.folder}` scores it")
    return 0


def fresh(parent: Path, name: str) -> Path:
    """A folder that does not exist yet: `name`, or `name` with the first free number behind it."""
    folder, number = parent / name, 2
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder
