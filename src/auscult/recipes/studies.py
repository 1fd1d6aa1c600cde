"""Studies: rows of recipes that are trained with the same seeds and compared; one line each in `STUDIES`.

Source: Lung-SRAD (Shridhar et al. 2026), Table 2 and Figure 3; QLung (arXiv 2606.11915), its ablation; SAM-AST (arXiv
2512.22564), its ablation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ..errors import AuscultError, unknown
from . import RECIPES, SWEEPS

Size = Literal["nano", "small", "medium"]
ENDINGS: dict[Size, str] = {"medium": "", "small": "_small", "nano": "_nano"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a study.

    Args:
        name: of the row and of its folder.
        recipe: name in `RECIPES`.
        settings: ``key=value`` settings laid over the recipe.
        paper: the Score that the paper prints for this row, in %.
    """

    name: str
    recipe: str
    settings: tuple[str, ...] = ()
    paper: float | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """Rows to compare, in order; `paper` says what the paper's scores were measured on."""

    name: str
    rows: tuple[Row, ...]
    paper: str = ""


TABLE_2: dict[str, float | None] = {
    "dass": 61.06,
    "dass_smooth": 62.22,
    "dass_smooth_astmix": None,  # could not be read
    "dass_smooth_freq": 63.18,
    "dass_smooth_time": 62.83,
    "lung_srad": 64.48,
}
TABLE_2_IS = (
    "Table 2 of Lung-SRAD: ICBHI 4-class, DASS medium from AudioSet weights, mean of five seeds, best epoch on the "
    "test set; not comparable"
)


def lung_srad_table2(size: Size) -> Study:
    """The six rows of Table 2, each a step from plain fine-tuning to the whole method."""
    end = ENDINGS[size]
    rows = tuple(Row(name=name + end, recipe=name + end, paper=score) for name, score in TABLE_2.items())
    return Study(name=f"lung_srad_table2{end}", rows=rows, paper=TABLE_2_IS)


def lung_srad_sweep(which: str, size: Size) -> Study:
    """One curve of Figure 3; its values were not printed."""
    end = ENDINGS[size]
    points = SWEEPS.get(f"{which}_{size}", SWEEPS[which])
    rows = tuple(Row(name=point(settings), recipe=f"lung_srad{end}", settings=settings) for settings in points)
    return Study(name=f"lung_srad_{which}{end}", rows=rows)


SAM_ROWS: dict[Size, tuple[str, ...]] = {
    "medium": ("ast_ce", "ast_wrs", "sam_ast"),
    "nano": ("dass_nano", "wrs_dass_nano", "sam_dass_nano"),
}
QLUNG_ROWS: dict[Size, tuple[str, ...]] = {
    "medium": ("qlung_ce", "qlung_fixed", "qlung_quality", "qlung_imbalance", "qlung"),
    "nano": (
        "dass_nano",
        "qlung_fixed_dass_nano",
        "qlung_quality_dass_nano",
        "qlung_imbalance_dass_nano",
        "qlung_dass_nano",
    ),
}
QLUNG_SCORES = (59.55, 59.72, 60.47, 60.56, 62.01)
QLUNG_IS = (
    "ablation of QLung: ICBHI 4-class, AST from AudioSet weights, mean of five runs, best epoch on the test set; not "
    "comparable"
)
COMBINED_ROWS: dict[Size, tuple[str, ...]] = {
    "medium": ("dass", "lung_srad", "lung_srad_qlung", "lung_srad_sam", "lung_srad_qlung_sam"),
    "nano": ("dass_nano", "lung_srad_nano", "lung_srad_qlung_nano", "lung_srad_sam_nano", "lung_srad_qlung_sam_nano"),
}


def of_size(name: str, rows: dict[Size, tuple[str, ...]], size: Size) -> tuple[str, ...]:
    """The recipes of a study at that size.

    Raises:
        AuscultError: E_SETTING for a size it has not.
    """
    if size not in rows:
        raise AuscultError("E_SETTING", f"{name} has no size {size}; there are {', '.join(rows)}.")
    return rows[size]


def sam_ablation(size: Size) -> Study:
    """Plain, with weighted sampling, with sharpness-aware minimisation too; the paper's figures are not known."""
    names = of_size("sam_ablation", SAM_ROWS, size)
    return Study(name=f"sam_ablation{ENDINGS[size]}", rows=tuple(Row(name=name, recipe=name) for name in names))


def qlung_ablation(size: Size) -> Study:
    """From cross-entropy to the whole of QLung, a part at a time."""
    names = of_size("qlung_ablation", QLUNG_ROWS, size)
    rows = tuple(Row(name=n, recipe=n, paper=p) for n, p in zip(names, QLUNG_SCORES, strict=True))
    return Study(name=f"qlung_ablation{ENDINGS[size]}", rows=rows, paper=QLUNG_IS)


def combinations(size: Size) -> Study:
    """Lung-SRAD with QLung's margin, with SAM, with both; published by nobody."""
    names = of_size("combinations", COMBINED_ROWS, size)
    return Study(name=f"combinations{ENDINGS[size]}", rows=tuple(Row(name=name, recipe=name) for name in names))


def point(settings: Sequence[str]) -> str:
    """The name of a point, by its first setting.

    >>> point(("backbone.smoothing.stage=0", "backbone.smoothing.blocks=0,1"))
    'stage_0'
    """
    key, _, value = settings[0].partition("=")
    return f"{key.rpartition('.')[2]}_{value}"


STUDIES: dict[str, Callable[[Size], Study]] = {
    "lung_srad_table2": lung_srad_table2,
    "lung_srad_tau": partial(lung_srad_sweep, "tau"),
    "lung_srad_kernel": partial(lung_srad_sweep, "kernel"),
    "lung_srad_sigma": partial(lung_srad_sweep, "sigma"),
    "lung_srad_stage": partial(lung_srad_sweep, "stage"),
    "sam_ablation": sam_ablation,
    "qlung_ablation": qlung_ablation,
    "combinations": combinations,
}


def study(names: Sequence[str], size: Size | None = None) -> Study:
    """The study of that name, or one of the recipes that are named.

    Args:
        size: of the network in a study of `STUDIES`; None is medium, that of the paper.

    Raises:
        AuscultError: E_SETTING, for an unknown name, a name given twice, or a size for recipes that have theirs.
    """
    if not names:
        raise AuscultError(
            "E_SETTING", f"name a study ({', '.join(STUDIES)}) or some recipes (`auscult list recipes`)."
        )
    if len(names) == 1 and names[0] in STUDIES:
        return STUDIES[names[0]](size or "medium")
    for name in names:
        if name in STUDIES:
            raise AuscultError("E_SETTING", f"{name} is a study with rows of its own; name it alone.")
        if name not in RECIPES:
            raise unknown("study or recipe", name, [*STUDIES, *RECIPES])
    if len(set(names)) < len(names):
        raise AuscultError("E_SETTING", f"a recipe is named twice in {' '.join(names)}; name each once.")
    if size:
        raise AuscultError("E_SETTING", f"--size {size} is for named studies; recipes have it in their name.")
    return Study(name="-".join(names), rows=tuple(Row(name=name, recipe=name) for name in names))
