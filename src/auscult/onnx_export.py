"""A model as one ONNX file: the network from the filterbank of clips to logits and probabilities, with all it needs.

The decoder, the cutting of clips and the filterbank stay outside (docs/export.md). What is written is run with
onnxruntime and compared with torch before it gets its name.
"""

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .analysis import RESEARCH_ONLY
from .box import KEY
from .config import to_dict
from .errors import AuscultError
from .models import Classifier, scan
from .predict import Model, load
from .runs import replacing
from .version import __version__

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
LARGEST_ERROR = 1e-4  # of a logit, against torch
REFUSALS = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
INPUT, OUTPUTS = "fbank", ("logits", "probabilities")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Args:
        error: the largest difference of a logit between onnxruntime and torch, on fixed filterbanks.
        frames: of the input; None where it takes any number.
        calibrated: whether a temperature and thresholds are in it.
    """

    error: float
    frames: int | None
    calibrated: bool


class Probabilities(nn.Module):
    """Logits and, at a temperature, probabilities of stored filterbanks. Shape: (B, T, F) -> (B, K), (B, K)."""

    def __init__(self, classifier: Classifier, temperature: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature = temperature

    def forward(self, fbank: Float[Tensor, "B T F"]) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K"]]:
        logits = self.classifier(fbank)
        return logits, torch.softmax(logits / self.temperature, dim=-1)


def export_onnx(source: str | Path | None, out: Path, *, selection: str | None = None) -> Exported:
    """Writes the network of a model as one ONNX file, after onnxruntime has agreed with torch on it.

    The input `fbank` is float32, (batch, frames, mels): filterbanks as `Clip.fbank` makes them. The outputs are
    `logits` and `probabilities`, (batch, classes). The batch is free; the frames too where the network takes a clip of
    any length, else they are those of the clip. The file's metadata holds what `words` gives.

    Args:
        source: a run folder, a weights file or the name of a model; None takes the one in the package.
        selection: which epoch's weights of a run; None takes the recipe's own choice.

    Raises:
        AuscultError: E_SETTING where onnx is not installed; E_RUN where there is no model, or onnxruntime does not
            agree: nothing is written then; E_DISK.
    """
    require()
    model = load(source, selection=selection, device="cpu")
    free = model.classifier.backbone.any_length and model.recipe["input"]["frames"] is None
    network = Probabilities(model.classifier, model.choice.temperature).eval()
    program = traced(network, example(model), free)
    strip(program.model)
    program.model.metadata_props.update(words(model))
    with replacing(out) as temporary:
        program.save(str(temporary), external_data=False)
        error = disagreement(temporary, network, samples(model, free))
        if not error <= LARGEST_ERROR:  # NaN is not
            raise AuscultError(
                "E_RUN",
                f"onnxruntime's logits differ from torch's by {error:.1e}, more than {LARGEST_ERROR:.0e}; {out} is not "
                "written. Try other versions of onnxscript and onnxruntime, and please report it.",
            )
    return Exported(error=error, frames=None if free else model.clip.frames, calibrated=model.calibrated)


def require() -> None:
    """Refuses where the packages are missing.

    Raises:
        AuscultError: E_SETTING.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise AuscultError(
            "E_SETTING", f"export to ONNX needs {', '.join(missing)}; install with: pip install 'auscult[onnx]'"
        )


def traced(network: nn.Module, fbank: Float[Tensor, "B T F"], free: bool) -> Any:
    """torch's `ONNXProgram` of a network; `free` leaves the number of frames open. Takes some ten seconds.

    Of the exporter's optimiser only the folding of constants is used: its patterns take as long as all else together;
    onnxruntime has its own, at every start.
    """
    from onnxscript.optimizer import fold_constants, remove_unused_nodes

    from .models.scan import cpu, onnx_graph  # noqa: F401  (the first makes the operator, the second needs onnxscript)

    axes = {0: "batch", 1: "frames"} if free else {0: "batch"}
    with torch.no_grad(), scan.force("cpu"), undisturbed():
        program: Any = torch.onnx.export(
            network,
            (fbank,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: axes},
            custom_translation_table={torch.ops.auscult.ss2d.default: onnx_graph.ss2d},
            optimize=False,
            verbose=False,
        )
    fold_constants(program.model)
    remove_unused_nodes(program.model)
    return program


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within the block two messages that torch's exporter makes by itself, about itself, are not shown."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")

    def wanted(record: logging.LogRecord) -> bool:
        return "torchvision is not installed" not in record.getMessage()  # nothing here has its operators

    registry.addFilter(wanted)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies its own tree of arguments in a way that it has deprecated
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
            yield
    finally:
        registry.removeFilter(wanted)


def strip(model: Any) -> None:
    """Takes the traces of our source lines, with this machine's folders, off every node: half of the file."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()


def words(model: Model) -> dict[str, str]:
    """What the file says of itself: plain text, or JSON where the name is that of several things.

    `clip` has all that shapes the filterbank, `choice` temperature and thresholds (null without), `sha256` is that of
    the weights (`models.weights.digest`).
    """
    facts = {name: told for name, told in model.facts.items() if name != KEY}
    told = {
        "recipe": model.recipe,
        "clip": to_dict(model.clip) | {"frames": model.clip.frames},
        "classes": list(model.classes),
        "choice": model.choice.to_dict() if model.calibrated else None,
        "facts": facts,
    }
    plain = {
        "auscult": __version__,
        "sha256": model.sha256,
        "temperature": repr(model.choice.temperature),
        "note": RESEARCH_ONLY,
    }
    return plain | {name: json.dumps(value) for name, value in told.items()}


def example(model: Model, batch: int = 2, frames: int | None = None) -> Float[Tensor, "B T F"]:
    """Values in the range of filterbanks, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, frames or model.clip.frames, model.clip.n_mels, generator=generator) * 3 - 6


def samples(model: Model, free: bool) -> list[Float[Tensor, "B T F"]]:
    """What both are asked: one clip of any values, three of swelling noise, and other lengths if `free`."""
    clip = model.clip
    seconds = torch.arange(clip.samples) / clip.sample_rate
    generator = torch.Generator().manual_seed(1)
    swell = torch.sin(torch.pi * torch.tensor([[0.3], [0.7], [1.1]]) * seconds).square()
    noise = torch.randn(3, clip.samples, generator=generator) * swell * torch.tensor([[0.002], [0.02], [0.2]])
    others = [example(model, 1, clip.frames // 2 + 9), example(model, 1, clip.frames + 37)] if free else []
    return [example(model, 1), clip.fbank(noise), *others]


def disagreement(file: Path, network: nn.Module, asked: list[Float[Tensor, "B T F"]]) -> float:
    """The largest difference of a logit between onnxruntime on the processor and torch; NaN where one is none.

    Raises:
        AuscultError: E_RUN where onnxruntime cannot run the file.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    found, refusals = [], tuple(getattr(errors, name) for name in REFUSALS)
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for fbank in asked:
            logits = torch.from_numpy(session.run([OUTPUTS[0]], {INPUT: fbank.numpy()})[0])
            with torch.inference_mode():
                found.append((logits - network(fbank)[0]).abs().max())
    except refusals as error:
        raise AuscultError("E_RUN", f"onnxruntime cannot run what was made: {error}.") from error
    return float(torch.stack(found).max())
