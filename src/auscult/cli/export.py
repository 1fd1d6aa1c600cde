"""`auscult export`: a run as one file that can be given away."""

from pathlib import Path

from .process import prepare_process


def export(run: Path, out: Path, /, *, data: Path | None = None, selection: str | None = None) -> int:
    """Writes a run as one weights file: preprocessing, labels, temperature, thresholds and checksum are in it.

    Temperature and thresholds are chosen on the patients that training held out. `auscult predict --model FILE` and
    `auscult serve --model FILE` take the file. A name in .onnx gives the network alone, for programs without auscult,
    with the temperature and thresholds that the model has; onnxruntime must agree with torch on it.

    Args:
        run: a finished run folder; for .onnx a weights file, or auscult-nano, too.
        out: the file, .safetensors or .onnx.
        data: folder of the data set, if it has moved since training; not for .onnx.
        selection: which epoch's weights; the recipe's own choice without it.
    """
    from ..errors import AuscultError

    if out.suffix not in (".safetensors", ".onnx"):
        raise AuscultError("E_SETTING", f"{out}: the file's name must end in .safetensors or .onnx.")
    if out.suffix == ".onnx" and data is not None:
        raise AuscultError(
            "E_SETTING", "--data is for .safetensors, where thresholds are chosen; leave it out for .onnx."
        )
    prepare_process()
    return to_onnx(run, out, selection) if out.suffix == ".onnx" else to_safetensors(run, out, data, selection)


def to_safetensors(run: Path, out: Path, data: Path | None, selection: str | None) -> int:
    """Weights and choices; the exit code."""
    from ..export import export as write
    from ..progress import say
    from ..runs import Run

    choice = write(Run(run), out, data=data, selection=selection)
    measured = choice.measured or {}
    say(
        f"{out}: {out.stat().st_size / 2**20:.1f} MiB; breaths abnormal from {choice.threshold:.2f}, recordings from "
        f"{choice.recording:.2f}, nothing said between {choice.unsure[0]:.2f} and {choice.unsure[1]:.2f}; chosen on "
        f"{measured.get('breaths')} breaths of {measured.get('patients')} held-out patients"
    )
    return 0


def to_onnx(model: Path, out: Path, selection: str | None) -> int:
    """The network; the exit code."""
    from ..onnx_export import export_onnx
    from ..progress import say

    made = export_onnx(model, out, selection=selection)
    frames = f"{made.frames} frames" if made.frames else "any number of frames"
    hint = "" if made.calibrated else "; not calibrated: export the run to .safetensors first, and that file to .onnx"
    say(
        f"{out}: {out.stat().st_size / 2**20:.1f} MiB, takes {frames}; largest error of a logit against torch "
        f"{made.error:.1e}{hint}"
    )
    return 0
