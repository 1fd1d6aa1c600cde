"""A Ray cluster to work on: one of this machine alone, started and ended here, or the one that RAY_ADDRESS names.

Ray runs any code it is given. The one started here listens on the loopback address alone, asks every client for a token
that only this process and its children know, keeps its files in a folder that nobody else can read, and sends no usage
statistics. See docs/many_machines.md.
"""

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import AuscultError

ADDRESS = "RAY_ADDRESS"
LOOPBACK = "127.0.0.1"
STORE_BYTES = 256 * 2**20  # without it Ray takes 30 % of the memory
STARTS = 3  # Ray gives its helper processes 15 s to start, and on a busy machine they need more the first time
END_WITHIN_S = 10.0
TOKEN = secrets.token_hex(32)  # one a process: Ray reads it once
SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    # what Ray does by itself on Windows and macOS: every process of a single machine listens on the loopback address.
    # `_node_ip_address` alone does not: Ray puts the machine's own address in the place of 127.0.0.1
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # the workers run what this process runs, whatever started it
    "RAY_worker_niceness": "0",  # a training has the priority that it has without Ray
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a worker without a GPU of its own sees what this process sees
}


@contextlib.contextmanager
def local(cpus: int | None = None) -> Iterator[Any]:
    """The module `ray`, joined to a cluster while the block runs.

    Where RAY_ADDRESS is set, that cluster is joined and left as it was. Otherwise one of this machine alone is started;
    all its processes have ended and its files are gone when the block is left, however it is left.

    Args:
        cpus: how many cores tasks may have in all, of a cluster started here; None for all.

    Raises:
        AuscultError: E_SETTING where Ray is not installed or cannot be joined, E_RUN where it does not start.
    """
    if importlib.util.find_spec("ray") is None:
        raise AuscultError(
            "E_SETTING", 'this needs Ray, which is not installed. `pip install "auscult[ray]"`, or leave --engine out.'
        )
    there = sys.modules.get("ray")
    if there is not None and there.is_initialized():  # by the one who called this, who will end it
        yield there
        return
    with joined(os.environ[ADDRESS]) if os.environ.get(ADDRESS) else started(cpus) as ray:
        yield ray


@contextlib.contextmanager
def joined(address: str) -> Iterator[Any]:
    """Ray, joined to a cluster that runs already.

    Raises:
        AuscultError: E_SETTING.
    """
    if "://" in address:
        raise AuscultError(
            "E_SETTING", f"{ADDRESS}={address}: give HOST:PORT or auto, and run this on a machine of the cluster."
        )
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many kinds; all of them mean that it could not be joined
        ray.shutdown()
        raise AuscultError(
            "E_SETTING",
            f"the cluster {ADDRESS}={address} cannot be joined: {first_line(error)} Start one as docs/many_machines.md "
            f"says, with the same RAY_AUTH_MODE and token here, or unset {ADDRESS} to use this machine alone.",
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextlib.contextmanager
def started(cpus: int | None) -> Iterator[Any]:
    """Ray of this machine alone; see `local`."""
    with settings_for_ray():
        import ray

        folder = tempfile.mkdtemp(prefix="auscult-ray-", dir=short_folder())  # for this user alone
        try:
            with daemons(ray, cpus, f"{folder}/ray"):  # Ray opens its own folder to everybody
                yield ray
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def daemons(ray: Any, cpus: int | None, folder: str) -> Iterator[None]:
    """The processes of a cluster, started again if the helpers among them were too slow, ended with all their children.

    Raises:
        AuscultError: E_RUN.
    """
    from psutil import Process

    others, attempt = set(Process().children()), 0
    while not ray.is_initialized():
        attempt += 1
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=STORE_BYTES,
                _node_ip_address=LOOPBACK,
                _temp_dir=folder,
            )
        except BaseException as error:  # Ray raises a bare Exception when it has waited in vain
            end(ray, [process for process in Process().children() if process not in others])
            if not isinstance(error, Exception):
                raise
            if attempt == STARTS:
                raise AuscultError(
                    "E_RUN", f"Ray did not start in {STARTS} attempts: {first_line(error)} Is this machine very busy?"
                ) from error
    ours = [process for process in Process().children() if process not in others]
    try:
        check_address(ray.nodes()[0]["NodeManagerAddress"])
        yield
    finally:
        end(ray, ours)


def check_address(address: str) -> None:
    """Refuses a cluster that listens elsewhere: Ray was imported before its settings were made, or knows them no more.

    Raises:
        AuscultError: E_RUN.
    """
    if address != LOOPBACK:
        raise AuscultError(
            "E_RUN",
            f"Ray listens on {address} and not on {LOOPBACK} alone, so it was ended. Where `ray` is imported before "
            f"`auscult.cluster.local` is entered, leave that import out; else use --engine local.",
        )


def end(ray: Any, ours: list[Any]) -> None:
    """Ends what was started and its children: Ray by itself first, then whatever it left."""
    from psutil import NoSuchProcess, wait_procs

    everything = list(ours)
    for process in ours:
        with contextlib.suppress(NoSuchProcess):
            everything += process.children(recursive=True)
    ray.shutdown()
    for process in wait_procs(everything, timeout=END_WITHIN_S)[1]:
        with contextlib.suppress(NoSuchProcess):
            process.kill()
    wait_procs(everything, timeout=END_WITHIN_S)


@contextlib.contextmanager
def settings_for_ray() -> Iterator[None]:
    """`SETTINGS` in the environment of this process and those it starts, while the block runs."""
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def short_folder() -> str:
    """Where temporary files go; Ray's sockets have long names in it, and 107 letters (macOS: 103) are allowed."""
    return "/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir()


def first_line(error: Exception) -> str:
    """What an error of Ray says, without the many lines after it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
