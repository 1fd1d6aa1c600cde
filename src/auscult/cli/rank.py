"""One process of several that train together; `launch` starts it as ``python -m auscult.cli.rank FOLDER``.

FOLDER has the job; an error is left there for the one who started it, who says it once.
"""

import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

from ..errors import AuscultError
from .process import prepare_process

ORPHANED = 1
GRACE_S = 5.0


def main(folder: Path) -> int:
    """Trains with the others; gives the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started this
    # of depthwise convolutions, whose gradients are laid out another way: DDP copies them, and that is all
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    threading.Thread(target=end_with_parent, daemon=True).start()
    prepare_process()
    from ..config import from_dict
    from ..launch import said_by
    from ..recipes import RecipeSpec
    from ..runs import read_json, write_json
    from ..train import train

    job = read_json(folder / "job.json")
    sys.argv = job["command"]
    recipe = from_dict(RecipeSpec, job["recipe"])
    try:
        train(recipe, job["dataset"], Path(job["data"]), Path(job["out"]), **job["settings"])
    except AuscultError as error:
        write_json(said_by(folder, int(os.environ["RANK"])), {"code": error.code, "message": error.message})
        return 1
    except RuntimeError:
        time.sleep(GRACE_S)  # if it is that another process is gone, this one is ended meanwhile and need not say it
        raise
    return 0


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone: its end of stdin closes."""
    while os.read(0, 1):  # no reader of Python's own: it would hold a lock at the end
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
