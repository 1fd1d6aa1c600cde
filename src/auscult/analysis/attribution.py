"""What each value of a filterbank adds to the log-odds of a class: one backward pass, or the slow methods of captum.

The gradient is taken through the model's own normalisation, by the filterbank as the feature store holds it, so it
works for every backbone. Gradient times (value - reference) is the first-order guess of how far the log-odds would fall
if the value became the reference; integrated gradients follow the straight way there, and occlusion goes there, one
rectangle after another.

Source: Simonyan et al. 2014, section 3 (gradient); Shrikumar et al. 2017, section 2 (gradient x input); Sundararajan
et al. 2017, section 3 (integrated gradients); Zeiler & Fergus 2014, section 4.2 (occlusion).
"""

from importlib.util import find_spec
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import AuscultError, unknown
from ..models import Classifier

Method = Literal["gradient", "integrated_gradients", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)
IG_STEPS = 32
OCCLUDED = (10, 8)  # frames and mel bins of a rectangle: 0.1 s, longer than a crackle; half of it to the next
AT_ONCE = 32  # clips in one pass


def log_odds(logits: Float[Tensor, "B K"], members: Bool[Tensor, "B K"]) -> Float[Tensor, "B"]:
    """Log of P(class in `members`) / P(class not in it); where it is one class, log p / (1 - p).

    >>> log_odds(torch.tensor([[2.0, 0.0]]), torch.tensor([[True, False]])).tolist()
    [2.0]
    """
    inside = logits.masked_fill(~members, -torch.inf).logsumexp(dim=1)
    return inside - logits.masked_fill(members, -torch.inf).logsumexp(dim=1)


def reference(model: Classifier, fbank: Float[Tensor, "B T F"]) -> Float[Tensor, "B 1 F"]:
    """A clip that says nothing: the mean spectrum of the training cycles where the model has kept it
    (``Input(normalise="mel")``), else the mean over time of each clip's own mel bins.
    """
    norm = getattr(model.front, "mel", None)
    if isinstance(norm, nn.BatchNorm1d) and norm.running_mean is not None:
        return norm.running_mean.to(fbank)[None, None].expand(len(fbank), 1, -1)
    return fbank.mean(dim=1, keepdim=True)


def attribution(
    model: Classifier, fbank: Float[Tensor, "B T F"], members: Bool[Tensor, "B K"], method: Method = "gradient"
) -> Float[Tensor, "B T F"]:
    """How much each value adds to the log-odds of the classes `members`; negative where it speaks against them.

    Args:
        model: in evaluation mode.
        fbank: as stored, on the model's device.

    Raises:
        AuscultError: E_SETTING for an unknown method, one whose package is missing, and a model without gradients.
    """
    if not isinstance(model, Classifier):
        raise AuscultError(
            "E_SETTING",
            f"a {type(model).__name__} has no gradient, and no spectrogram: saliency needs a network. Give a run of a "
            "recipe with a backbone, for instance dass_nano.",
        )
    if method not in METHODS:
        raise unknown("saliency method", method, METHODS)
    with torch.inference_mode(False), torch.enable_grad():
        x, chosen = fbank.detach().clone().float(), members.clone()
        way = {"gradient": _gradient, "integrated_gradients": _integrated, "occlusion": _occlusion}[method]
        found = [way(model, *part) for part in zip(x.split(AT_ONCE), chosen.split(AT_ONCE), strict=True)]
    return torch.cat(found).detach()


def _gradient(model: Classifier, x: Tensor, members: Tensor) -> Tensor:
    x.requires_grad_(True)
    (slope,) = torch.autograd.grad(log_odds(model(x), members).sum(), x)
    return slope * (x.detach() - reference(model, x.detach()))


def _integrated(model: Classifier, x: Tensor, members: Tensor) -> Tensor:
    need_captum("integrated_gradients")
    from captum.attr import IntegratedGradients

    way = IntegratedGradients(lambda y, chosen: log_odds(model(y), chosen))
    start = reference(model, x).expand_as(x)
    return way.attribute(x, start, additional_forward_args=members, n_steps=IG_STEPS, internal_batch_size=AT_ONCE)


def _occlusion(model: Classifier, x: Tensor, members: Tensor) -> Tensor:
    need_captum("occlusion")
    from captum.attr import Occlusion

    size = tuple(min(wanted, there) for wanted, there in zip(OCCLUDED, x.shape[1:], strict=True))
    step = tuple(max(1, s // 2) for s in size)
    way = Occlusion(lambda y, chosen: log_odds(model(y), chosen))
    with torch.no_grad():
        return way.attribute(x, size, step, reference(model, x).expand_as(x), additional_forward_args=members)


def need_captum(method: str) -> None:
    """Refuses a method whose package is not installed.

    Raises:
        AuscultError: E_SETTING.
    """
    if find_spec("captum") is None:
        raise AuscultError(
            "E_SETTING",
            f"method={method} needs captum; install it with: pip install 'auscult[explain]'. gradient does not.",
        )
