"""Published weights by name: where they are, how they are fetched and checked, and how a backbone starts from them.

No author of these files publishes a checksum. So the first download is trusted and its sha256 is written beside it;
a later download under the same name must have the same one. Files that came with a published sha256 are held to that.
"""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import platformdirs
from torch import nn

from ..errors import AuscultError, unknown
from ..fetch import fetch
from ..progress import say
from ..runs import file_sha256, write_text
from .transfer import Report, load_backbone

DASS_RELEASES = "https://github.com/Saurabhbhati/DASS/releases"
DASS_HUB = "https://huggingface.co/saurabhati"
AST_HUB = "https://huggingface.co/MIT/ast-finetuned-audioset-10-10-0.4593"
EFFICIENTAT_RELEASES = "https://github.com/fschmid56/EfficientAT/releases"
VMAMBA_RELEASES = "https://github.com/MzeroMiko/VMamba/releases/download/%23v2cls"


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A published checkpoint.

    Args:
        what: network, training data and, where it is published, the score.
        backbone: the kind of our backbone it fits.
        size: and the size.
        url: its address; None where the authors give only a page.
        page: where a person finds it.
        sha256: as published; None where it is not.
        about_mb: expected size, from the number of float32 parameters; None where the file holds more than those.
    """

    what: str
    backbone: str
    size: str
    url: str | None
    page: str
    sha256: str | None = None
    about_mb: int | None = None


def _hub(name: str, size: str, what: str) -> Pretrained:
    page = f"{DASS_HUB}/{name}"
    return Pretrained(
        what=what,
        backbone="dass",
        size=size,
        url=f"{page}/resolve/main/model.safetensors",
        page=page,
        about_mb={"small": 120, "medium": 195}[size],
    )


# The pages are those the DASS repository and its model cards name; `model.safetensors` is what `save_pretrained`
# writes, seen in a public copy of DASS_medium_AudioSet_48.9. v0.2 is the file of the public Lung-SRAD code. The two
# addresses of VMamba stand in its vmamba.py and in ast_models.py of DASS; that of the original AST in its own.
PRETRAINED: dict[str, Pretrained] = {
    "dass_small_v1": _hub("DASS_small_AudioSet_47.2", "small", "DASS small, AudioSet, teacher AST, mAP 47.2"),
    "dass_medium_v1": Pretrained(
        what="DASS medium, AudioSet, teacher AST, mAP 47.6 (DASS_medium.pth)",
        backbone="dass",
        size="medium",
        url=None,
        page=DASS_RELEASES,
        about_mb=195,
    ),
    "dass_small_v2": _hub("DASS_small_AudioSet_48.6", "small", "DASS small, AudioSet, teachers AST + HTS-AT, mAP 48.6"),
    "dass_medium_v2": Pretrained(
        what="DASS medium, AudioSet, teachers AST + HTS-AT, mAP 48.9; the start of Lung-SRAD",
        backbone="dass",
        size="medium",
        url=f"{DASS_RELEASES}/download/v0.2/DASS_medium_v2.pth",
        page=DASS_RELEASES,
        about_mb=195,
    ),
    "dass_small_v3": _hub("DASS_small_AudioSet_50.1", "small", "DASS small, AudioSet, teacher SSLAM, mAP 50.1"),
    "dass_medium_v3": _hub("DASS_medium_AudioSet_50.2", "medium", "DASS medium, AudioSet, teacher SSLAM, mAP 50.2"),
    "vmamba_tiny": Pretrained(
        what="VMamba-T s1l8, ImageNet-1K, top-1 82.6; what DASS small was started from",
        backbone="dass",
        size="small",
        url=f"{VMAMBA_RELEASES}/vssm1_tiny_0230s_ckpt_epoch_264.pth",
        page="https://github.com/MzeroMiko/VMamba",
    ),
    "vmamba_small": Pretrained(
        what="VMamba-S s1l20, ImageNet-1K, top-1 83.3; what DASS medium was started from",
        backbone="dass",
        size="medium",
        url=f"{VMAMBA_RELEASES}/vssm1_small_0229s_ckpt_epoch_240.pth",
        page="https://github.com/MzeroMiko/VMamba",
    ),
    "ast_audioset": Pretrained(
        what="AST base, stride 10, ImageNet and AudioSet, mAP 45.9; the start of the AST line of systems",
        backbone="ast",
        size="base",
        url=f"{AST_HUB}/resolve/main/model.safetensors",
        page=AST_HUB,
        about_mb=346,
    ),
    "ast_audioset_original": Pretrained(
        what="the same weights in the file of the AST authors (audioset_10_10_0.4593.pth)",
        backbone="ast",
        size="base",
        url="https://www.dropbox.com/s/cv4knew8mvbrnvq/audioset_0.4593.pth?dl=1",
        page="https://github.com/YuanGongND/ast",
        about_mb=353,
    ),
    "mn04_audioset": Pretrained(
        what="EfficientAT mn04, AudioSet, mAP 43.2 (MIT licence, Florian Schmid)",
        backbone="mobilenet",
        size="mn04",
        url=f"{EFFICIENTAT_RELEASES}/download/v0.0.1/mn04_as_mAP_432.pt",
        page=EFFICIENTAT_RELEASES,
        sha256="899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
        about_mb=4,
    ),
}


def start_from(backbone: nn.Module, name_or_path: str | Path, *, allow_partial: bool = False) -> Report:
    """Fills a backbone with published weights, by name or from a file, and says what was matched.

    Args:
        name_or_path: a name in `PRETRAINED`, fetched if it is not there yet; or a checkpoint file.
        allow_partial: take weights that fill less than 95 % of the backbone.

    Raises:
        AuscultError: E_SETTING for an unknown name, E_RUN for a file that is missing, damaged or does not fit, or
            cannot be fetched, E_DISK.
    """
    return load_backbone(backbone, locate(name_or_path), allow_partial=allow_partial)


def locate(name_or_path: str | Path) -> Path:
    """The file that a name or path means; fetches it where needed."""
    if name_or_path in PRETRAINED:
        return fetch_pretrained(str(name_or_path))
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise AuscultError("E_RUN", f"{path} is not a file; `auscult weights list` shows the names there are.")
    raise unknown("published weights", str(name_or_path), PRETRAINED)


def weights_folder() -> Path:
    """Where fetched weights lie: AUSCULT_CACHE, or the user's cache folder."""
    return Path(os.environ.get("AUSCULT_CACHE") or platformdirs.user_cache_path("auscult")) / "weights"


def cached(name: str) -> Path:
    """Where the weights of that name lie once they are there."""
    suffix = PurePosixPath(urlsplit(PRETRAINED[name].url or "").path).suffix or ".pth"
    return weights_folder() / f"{name}{suffix}"


def fetch_pretrained(name: str) -> Path:
    """Fetches published weights into the cache, once, and checks them every time.

    Returns:
        The file.

    Raises:
        AuscultError: E_SETTING for an unknown name, E_RUN when it cannot be fetched or has another sha256, E_DISK.
    """
    if name not in PRETRAINED:
        raise unknown("published weights", name, PRETRAINED)
    entry, file = PRETRAINED[name], cached(name)
    record = file.with_name(f"{file.name}.sha256")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        known = entry.sha256 or _recorded(record)
        if entry.url is None:
            _by_hand(name, file, known)
        elif known is not None or not file.exists():
            fetch(entry.url, file, known and f"sha256:{known}", _elsewhere(entry, file, record, known), code="E_RUN")
        if known is None:
            known = file_sha256(file)
            write_text(record, f"{known}  {file.name}\n")
            say(f"{file}: no sha256 is published; {known} is trusted from now on ({record.name})")
    except OSError as error:
        reason = error.strerror or str(error)
        raise AuscultError("E_DISK", f"cannot write to {file.parent}: {reason}. Set AUSCULT_CACHE.") from error
    return file


def _elsewhere(entry: Pretrained, file: Path, record: Path, known: str | None) -> str:
    text = f"The file is also found through {entry.page}; put it at {file}, or name its path instead."
    if known is not None and entry.sha256 is None:
        text += f" The sha256 is that of the first download; if the authors changed the file, remove {record}."
    return text


def _recorded(record: Path) -> str | None:
    """The sha256 of the first download, in the form that `sha256sum -c` reads."""
    if not record.exists():
        return None
    digest = record.read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise AuscultError("E_RUN", f"{record} holds no sha256; remove it to trust the next download.")
    return digest


def _by_hand(name: str, file: Path, known: str | None) -> None:
    """Checks a file that a person must fetch."""
    page = PRETRAINED[name].page
    if not file.is_file():
        raise AuscultError(
            "E_RUN", f"{name} has no direct address; get it from {page} and put it at {file}, or name its path instead."
        )
    if known is not None and file_sha256(file) != known:
        raise AuscultError("E_RUN", f"{file} has another sha256 than at first ({known}); get it again from {page}.")
