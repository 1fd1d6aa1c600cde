"""`auscult bench`: how fast it is on this machine, beside its rivals, and the page made of it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from ..errors import AuscultError

FLAG = Parameter(negative="", show_default=False)
Size = Literal["nano", "small", "medium"]
Precision = Literal["fp32", "bf16"]
Device = Literal["cpu", "cuda"]

bench = App(
    name="bench", sort_key=90, help="Measures speed and memory on this machine, in alternating rounds beside rivals."
)


@bench.command(sort_key=0)
def scan(
    *,
    size: Size = "small",
    seconds: float = 8.0,
    batch: int = 1,
    threads: int = 1,
    precision: Precision = "fp32",
    device: Device = "cpu",
    rounds: int = 5,
    vmamba: Path | None = None,
    mambapy: Annotated[bool, FLAG] = False,
    reference: Annotated[bool, FLAG] = False,
    no_first_call: Annotated[bool, FLAG] = False,
    json: Path | None = None,
) -> int:
    """Times the selective scan of all blocks of a network: the compiled form, the torch form, and rivals.

    Args:
        size: of DASS.
        seconds: length of a clip.
        batch: clips.
        threads: 1 is timed by the processor's clock, more by the wall clock.
        precision: of the map and its projections; the state is fp32 in any case.
        device: cpu or cuda.
        rounds: each contestant is timed once a round.
        vmamba: folder of the public VMamba repository; its scan takes part.
        mambapy: mambapy's parallel scan takes part.
        reference: the definition takes part; it needs seconds.
        no_first_call: do not measure compiling.
        json: file for the results.
    """
    from ..bench import scan as what

    setting = network_setting(size, seconds, batch, threads, precision, device, rounds)
    found = what.measure(
        setting,
        vmamba_folder=vmamba,
        mambapy=mambapy,
        with_reference=reference,
        with_first_call=not no_first_call,
    )
    return finish(found, json)


@bench.command(sort_key=1)
def model(
    *,
    size: Size = "small",
    seconds: float = 8.0,
    batch: int = 1,
    threads: int = 2,
    precision: Precision = "fp32",
    device: Device = "cpu",
    rounds: int = 5,
    vmamba: Path | None = None,
    ast: Annotated[bool, FLAG] = False,
    no_memory: Annotated[bool, FLAG] = False,
    json: Path | None = None,
) -> int:
    """Times the forward pass of DASS, and says how near it is to the floor that its matrix products set.

    Args:
        size: of DASS.
        seconds: length of a clip.
        batch: clips.
        threads: 1 is timed by the processor's clock, more by the wall clock.
        precision: bf16 runs under autocast.
        device: cpu or cuda.
        rounds: each contestant is timed once a round.
        vmamba: folder of the public VMamba repository; its network takes part, with the same weights.
        ast: AST-base of the transformers package takes part.
        no_memory: do not measure memory.
        json: file for the results.
    """
    from ..bench import model as what

    setting = network_setting(size, seconds, batch, threads, precision, device, rounds)
    return finish(what.measure(setting, vmamba=vmamba, ast=ast, with_memory=not no_memory), json)


@bench.command(name="train-step", sort_key=2)
def train_step(
    *,
    size: Size = "small",
    seconds: float = 8.0,
    batch: int = 1,
    threads: int = 2,
    precision: Precision = "fp32",
    device: Device = "cpu",
    rounds: int = 5,
    passes: int = 1,
    cycles: int = 4142,
    optimizer: Annotated[bool, FLAG] = False,
    vmamba: Path | None = None,
    ast: Annotated[bool, FLAG] = False,
    no_memory: Annotated[bool, FLAG] = False,
    json: Path | None = None,
) -> int:
    """Times forward and backward of DASS, and says what an epoch takes.

    Args:
        size: of DASS.
        seconds: length of a clip.
        batch: clips.
        threads: 1 is timed by the processor's clock, more by the wall clock.
        precision: bf16 runs under autocast.
        device: cpu or cuda.
        rounds: each contestant is timed once a round.
        passes: 3 is the cost of Lung-SRAD: the clean clip and two mixed views.
        cycles: of an epoch; 4142 are those of ICBHI.
        optimizer: the step includes AdamW.
        vmamba: folder of the public VMamba repository; its network takes part, with the same weights.
        ast: AST-base of the transformers package takes part.
        no_memory: do not measure memory.
        json: file for the results.
    """
    from ..bench import train_step as what

    setting = network_setting(size, seconds, batch, threads, precision, device, rounds)
    found = what.measure(
        setting,
        vmamba=vmamba,
        ast=ast,
        passes=passes,
        cycles=cycles,
        optimizer=optimizer,
        with_memory=not no_memory,
    )
    return finish(found, json)


@bench.command(sort_key=3)
def frontend(*, seconds: float = 8.0, threads: int = 1, rounds: int = 5, json: Path | None = None) -> int:
    """Times decoding, resampling, cutting, the filterbank, the feature store and SpecAugment, in ms a clip.

    Args:
        seconds: length of a clip.
        threads: of torch; 1 is timed by the processor's clock.
        rounds: each part is timed once a round.
        json: file for the results.
    """
    from ..bench import frontend as what
    from ..bench.setting import Setting

    return finish(what.measure(Setting(seconds=seconds, threads=threads, rounds=rounds)), json)


@bench.command(sort_key=4)
def predict(
    *,
    size: Size = "small",
    run: Path | None = None,
    files: int = 8,
    threads: int = 2,
    device: Device = "cpu",
    rounds: int = 3,
    json: Path | None = None,
) -> int:
    """Times `auscult predict` on synthetic recordings of 20 s: files a second, and how much faster than real time.

    Args:
        size: of the untrained network that predicts where no run is given.
        run: a run folder or a weights file.
        files: recordings.
        threads: 1 is timed by the processor's clock, more by the wall clock.
        device: cpu or cuda.
        rounds: the folder is predicted once a round.
        json: file for the results.
    """
    from ..bench import predict as what
    from ..bench.setting import Setting

    setting = Setting(size=size, threads=threads, device=device, rounds=rounds)
    return finish(what.measure(setting, run=run, files=files), json)


@bench.command(sort_key=5)
def length(
    *,
    size: Size = "small",
    lengths: str = "8,30,60,120,300,600",
    threads: int = 2,
    precision: Precision = "fp32",
    device: Device = "cpu",
    rounds: int = 5,
    ast: Annotated[bool, FLAG] = False,
    ast_seconds: float = 60.0,
    no_memory: Annotated[bool, FLAG] = False,
    json: Path | None = None,
) -> int:
    """Times one clip of growing length, and fits how time and memory grow: 1 is linear, 2 quadratic.

    Args:
        size: of DASS.
        lengths: seconds, with commas between.
        threads: 1 is timed by the processor's clock, more by the wall clock.
        precision: bf16 runs under autocast.
        device: cpu or cuda.
        rounds: each contestant is timed once a round; clips from a minute on in two rounds.
        ast: AST-base of the transformers package takes part.
        ast_seconds: up to here AST runs whole; beyond, one layer runs and counts twelve times.
        no_memory: do not measure memory.
        json: file for the results.
    """
    from ..bench import length as what

    setting = network_setting(size, 8.0, 1, threads, precision, device, rounds)
    found = what.measure(
        setting,
        lengths=seconds_list(lengths),
        ast=ast,
        ast_seconds=ast_seconds,
        with_memory=not no_memory,
    )
    return finish(found, json)


@bench.command(sort_key=6)
def report(*files: Path, out: Path = Path("docs/performance.md")) -> int:
    """Makes the page docs/performance.md from results that --json wrote.

    Args:
        files: the JSON files.
        out: the page.
    """
    if not files:
        raise AuscultError("E_SETTING", "no results given; name the files that --json wrote.")
    from ..bench.document import read
    from ..bench.report import page
    from ..progress import say
    from ..runs import write_text

    write_text(out, page([read(file) for file in sorted(files, key=lambda f: f.name)]))
    say(f"wrote {out}")
    return 0


def network_setting(
    size: str, seconds: float, batch: int, threads: int, precision: str, device: str, rounds: int
) -> Any:
    """The `Setting` of a subcommand that runs networks."""
    from ..bench.setting import Setting

    return Setting(
        size=size, seconds=seconds, batch=batch, threads=threads, precision=precision, device=device, rounds=rounds
    )


def seconds_list(text: str) -> list[float]:
    """Numbers with commas between.

    Raises:
        AuscultError: E_SETTING for anything else.

    >>> seconds_list("8,30.5")
    [8.0, 30.5]
    """
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise AuscultError(
            "E_SETTING", f"--lengths {text!r}; seconds with commas between are needed, 8,30,60."
        ) from error


def finish(found: dict[str, Any], json: Path | None) -> int:
    """Prints the tables of a document, then writes it."""
    from rich.console import Console

    from ..bench.grids import show
    from ..runs import write_json

    show(found, Console())
    if json is not None:
        write_json(json, found)
    return 0
