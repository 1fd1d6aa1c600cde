"""Worker processes on the machines of a Ray cluster, asked and answered as those of this machine (`workers`).

Each place is an actor that holds one process of this package: a recording that ends it costs itself only, where Ray
would try it again for ever. The journal is written here, by the one who asked, and is all that a resumed job needs.
Recordings, model and annotations must be found at the same paths on every machine.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .cluster import local
from .errors import AuscultError
from .scoring import Scoring
from .web.worker import Gone, Request
from .workers import Here, Lost, Workers, settings


class Holder:
    """The actor: it holds a worker process, and never raises, for what it answers must be plain values.

    Args:
        settings: added to the environment of the process.
        folder: that paths begin in.
    """

    def __init__(self, settings: dict[str, str], folder: str) -> None:
        self._settings, self._folder = settings, folder
        self._here: Here | None = None

    def ask(self, request: Request) -> dict[str, Any]:
        """``done``, ``error`` or ``gone``."""
        try:
            if self._here is None:
                os.chdir(self._folder)
                self._here = Here(self._settings)
            return {"done": self._here.ask(request)}
        except OSError as error:
            message = (
                f"{platform.node()} has no folder {self._folder}: {error.strerror}. Use one that all machines share."
            )
            return {"error": ("E_SETTING", message)}
        except AuscultError as error:
            return {"error": (error.code, error.message)}
        except Gone:
            return {"gone": self._here.end() if self._here else ""}


class Elsewhere:
    """A `workers.Place` on a machine of the cluster.

    Args:
        ray: the module.
        settings: added to the environment of the process.
        folder: that paths begin in.
    """

    def __init__(self, ray: Any, settings: dict[str, str], folder: str) -> None:
        self._ray = ray
        self._actor = ray.remote(num_cpus=1)(Holder).remote(settings, folder)
        self._how = ""
        self.alive = True

    def ask(self, request: Request) -> dict[str, Any]:
        """See `workers.Place`."""
        try:
            answer = self._ray.get(self._actor.ask.remote(request))
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.OutOfMemoryError) as error:
            self._how = f"its place in the cluster ({type(error).__name__})"
            raise Lost from error
        if "error" in answer:
            raise AuscultError(*answer["error"])
        if "gone" in answer:
            self._how = answer["gone"]
            raise Gone
        return answer["done"]

    def kill(self) -> None:
        """See `workers.Place`."""
        self._ray.kill(self._actor)

    def end(self) -> str:
        """See `workers.Place`."""
        self.kill()
        return self._how


@contextmanager
def ray_workers(scoring: Scoring, count: int | None, sha256: str) -> Iterator[Workers]:
    """`Workers` on a cluster (see `cluster.local`), as many as it has cores where `count` does not say.

    Raises:
        AuscultError: E_SETTING without Ray, or for more workers than there are cores.
    """
    with local(count) as ray:
        cores = int(ray.cluster_resources().get("CPU", 0))
        if not 1 <= (count or cores) <= cores:
            raise AuscultError(
                "E_SETTING", f"--workers {count or 1}: the cluster has {cores} cores, and each worker takes one."
            )
        start = partial(Elsewhere, ray, settings(), str(Path.cwd()))
        with Workers(scoring, count or cores, sha256, start) as workers:
            yield workers
