"""The commands, how errors are shown, and exit codes: 0 all well, 1 failed, 2 usage, 3 some failed, 130 stopped."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError

from ..analysis import RESEARCH_ONLY
from ..analysis.spreadsheet import printable
from ..errors import AuscultError
from ..version import __version__
from .analysis import analyse
from .bench import bench
from .card import card
from .compare import compare
from .data import download, list_, prepare
from .evaluation import evaluate
from .export import export
from .prediction import predict
from .segment import segment
from .serve import serve
from .study import study
from .teach import teach
from .training import demo, train
from .verify import verify
from .weights import weights

FAILED, USAGE, STOPPED = 1, 2, 130
EXTRAS = {
    **dict.fromkeys(
        ("torch", "scipy", "numba", "accelerate", "matplotlib", "pytorch_optimizer", "sklearn", "transformers"), "train"
    ),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn"), "serve"),
    "captum": "explain",
}

app = App(
    name="auscult",
    version=__version__,
    help=f"Respiratory sound classification: crackles and wheezes in stethoscope recordings. {RESEARCH_ONLY}",
    help_epilogue="Start with `auscult demo`.",
    help_format="markdown",
    suppress_keyboard_interrupt=False,
    print_error=False,
    exit_on_error=False,
    result_action="return_value",
)
COMMANDS: tuple[Callable[..., int], ...] = (
    demo,
    download,
    prepare,
    train,
    evaluate,
    study,
    compare,
    verify,
    teach,
    card,
    export,
    predict,
    segment,
    serve,
    list_,
)
for place, command in enumerate(COMMANDS):
    app.command(command, name=command.__name__.rstrip("_"), sort_key=place)
for place, group in enumerate((analyse, weights, bench), len(COMMANDS)):
    group.sort_key = place
    app.command(group)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its code.

    Args:
        arguments: words of the command line; None takes those of the process.
    """
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; gives its exit code. What went wrong is one line on stderr."""
    try:
        code = app(arguments)
        sys.stdout.flush()
        return int(code or 0)
    except CycloptsError as error:
        complain("E_SETTING", f"{error} `auscult --help` shows what there is.")
        return USAGE
    except AuscultError as error:
        complain(error.code, error.message)
        return USAGE if error.code == "E_SETTING" else FAILED
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        extra = EXTRAS[error.name]
        complain("E_SETTING", f"this command needs {error.name}; install it with: pip install 'auscult[{extra}]'")
        return USAGE
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # `auscult list | head`: the reader has gone, nothing is wrong
        leave_stdout()
        return FAILED
    except OSError as error:  # of a library's own files, or of stdout
        from ..runs import FULL

        if error.errno not in FULL:
            raise
        leave_stdout()
        where = error.filename or "what this command prints, or a temporary file"
        complain("E_DISK", f"cannot write {where}: {error.strerror}. Free space, then run the same command again.")
        return FAILED


def leave_stdout() -> None:
    """What is left in the buffer goes nowhere, instead of failing once more when the process ends."""
    with contextlib.suppress(OSError):  # it is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(code: str, message: str) -> None:
    """One line on stderr, red on a terminal."""
    red, plain = ("\033[31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{red}error {code}:{plain} {' '.join(printable(line) for line in message.splitlines())}", file=sys.stderr)
