"""Checkpoints of other projects, read without running code from them, and rewritten as safetensors.

A .pth file is a pickle, a program in disguise: `unpickle` reads it, in a process of its own with little memory
and time.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..checkpoint import save_tensors
from ..errors import AuscultError
from ..runs import file_sha256
from ..tensorfile import read_header
from ..weightsfile import FORMAT
from .weights import load_weights, read_tensors

TIMEOUT_S = 900.0
ENDING = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a checkpoint was turned into.

    Args:
        rows: name, type and shape of every tensor.
        source_sha256: of the file that was read.
        sha256: of the file that was written.
    """

    rows: tuple[tuple[str, str, tuple[int, ...]], ...]
    source_sha256: str
    sha256: str


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a checkpoint: safetensors, or of `torch.save`, bare or under ``state_dict`` or ``model``.

    The latter goes through `convert` and costs a process.

    Raises:
        AuscultError: E_RUN for a file that is missing, cut, holds anything but tensors and containers, or no tensors.
    """
    if path.suffix == ENDING:
        return _safetensors(path)
    with tempfile.TemporaryDirectory(prefix="auscult-") as folder:
        out = Path(folder) / f"a{ENDING}"
        made = convert(path, out)
        tensors = read_tensors(out)
        return {name: tensors[name].clone() for name, _, _ in made.rows}  # in the order of the checkpoint


def _safetensors(path: Path) -> dict[str, Tensor]:
    if read_header(path).words.get("format") == FORMAT:
        return load_weights(path).state  # ours: checks its sha256 too
    return read_tensors(path)


def convert(path: Path, out: Path) -> Converted:
    """Rewrites a checkpoint as safetensors, names and types unchanged.

    A pickle is read in a process of its own that may take four times the size of the file and 1 GiB (Linux; elsewhere
    memory is not limited) and ten minutes of a processor, and that never builds anything but tensors.

    Raises:
        AuscultError: E_RUN for a file that cannot be read so, E_SETTING for another ending of `out`, E_DISK.
    """
    if out.suffix != ENDING:
        raise AuscultError("E_SETTING", f"cannot write {str(out)!r}; its name must end in {ENDING}.")
    if not path.is_file():
        raise AuscultError("E_RUN", f"{path} is not a file; give a checkpoint: {ENDING}, or .pth of torch.save.")
    if path.suffix == ENDING:
        return _copied(path, out)
    answer = _in_a_process(path, out)
    rows = tuple((name, kind, tuple(shape)) for name, kind, shape in answer["rows"])
    return Converted(rows=rows, source_sha256=answer["source_sha256"], sha256=file_sha256(out))


def _copied(path: Path, out: Path) -> Converted:
    state, digest = _safetensors(path), file_sha256(path)
    save_tensors(out, state, {"converted_from": path.name, "source_sha256": digest})
    rows = tuple((name, str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in state.items())
    return Converted(rows=rows, source_sha256=digest, sha256=file_sha256(out))


def _in_a_process(path: Path, out: Path) -> dict:
    # -P: a file in the working folder must not pass for a module
    command = [sys.executable, "-P", "-m", "auscult.unpickle", str(path.absolute()), str(out.absolute())]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AuscultError("E_RUN", f"{path}: reading took more than {TIMEOUT_S:.0f} s; given up.") from error
    lines = done.stdout.decode(errors="replace").splitlines()
    answer = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    if "code" in answer:
        raise AuscultError(answer["code"], answer["message"])
    if done.returncode or not answer:
        raise AuscultError("E_RUN", f"{path}: the process that read it ended with code {done.returncode}; no result.")
    return answer
