"""Floor 3: what runs. A recipe is a function that returns a `RecipeSpec`, and one line in `RECIPES`."""

from collections.abc import Callable

from ..errors import unknown
from .ast import ast, ast_adapter, ast_lora, ast_nano, lung_adapter, patch_mix_cl, patch_mix_cl_nano
from .box import auscult_nano
from .combined import (
    lung_srad_qlung,
    lung_srad_qlung_nano,
    lung_srad_qlung_sam,
    lung_srad_qlung_sam_nano,
    lung_srad_sam,
    lung_srad_sam_nano,
)
from .dass import dass, dass_nano, dass_small
from .demo import demo
from .lineage import cnn6, cnn6_nano, dat, dat_nano, patch_mix_ce, sg_scl, sg_scl_nano
from .lung_srad import (
    SWEEPS,
    dass_smooth,
    dass_smooth_astmix,
    dass_smooth_astmix_nano,
    dass_smooth_astmix_small,
    dass_smooth_freq,
    dass_smooth_freq_nano,
    dass_smooth_freq_small,
    dass_smooth_nano,
    dass_smooth_small,
    dass_smooth_time,
    dass_smooth_time_nano,
    dass_smooth_time_small,
    lung_srad,
    lung_srad_nano,
    lung_srad_released,
    lung_srad_released_nano,
    lung_srad_released_small,
    lung_srad_small,
)
from .mobilenet import mn04, mn04_scratch
from .qlung import (
    qlung,
    qlung_ce,
    qlung_dass,
    qlung_dass_nano,
    qlung_fixed,
    qlung_fixed_dass_nano,
    qlung_imbalance,
    qlung_imbalance_dass_nano,
    qlung_quality,
    qlung_quality_dass_nano,
)
from .recipe import Recipe
from .sam_ast import (
    asam_dass_nano,
    ast_ce,
    ast_wrs,
    sam_ast,
    sam_ast_correct,
    sam_dass,
    sam_dass_nano,
    wrs_dass_nano,
)
from .shortcuts import shortcut_all, shortcut_demographics, shortcut_device, shortcut_duration, trees_logmel
from .spec import RecipeSpec
from .table import TableRecipe

RECIPES: dict[str, Callable[[], RecipeSpec]] = {
    "dass": dass,
    "dass_small": dass_small,
    "dass_nano": dass_nano,
    "dass_smooth": dass_smooth,
    "dass_smooth_small": dass_smooth_small,
    "dass_smooth_nano": dass_smooth_nano,
    "dass_smooth_astmix": dass_smooth_astmix,
    "dass_smooth_astmix_small": dass_smooth_astmix_small,
    "dass_smooth_astmix_nano": dass_smooth_astmix_nano,
    "dass_smooth_freq": dass_smooth_freq,
    "dass_smooth_freq_small": dass_smooth_freq_small,
    "dass_smooth_freq_nano": dass_smooth_freq_nano,
    "dass_smooth_time": dass_smooth_time,
    "dass_smooth_time_small": dass_smooth_time_small,
    "dass_smooth_time_nano": dass_smooth_time_nano,
    "lung_srad": lung_srad,
    "lung_srad_small": lung_srad_small,
    "lung_srad_nano": lung_srad_nano,
    "lung_srad_released": lung_srad_released,
    "lung_srad_released_small": lung_srad_released_small,
    "lung_srad_released_nano": lung_srad_released_nano,
    "ast_ce": ast_ce,
    "ast_wrs": ast_wrs,
    "sam_ast": sam_ast,
    "sam_ast_correct": sam_ast_correct,
    "wrs_dass_nano": wrs_dass_nano,
    "sam_dass": sam_dass,
    "sam_dass_nano": sam_dass_nano,
    "asam_dass_nano": asam_dass_nano,
    "qlung_ce": qlung_ce,
    "qlung_fixed": qlung_fixed,
    "qlung_quality": qlung_quality,
    "qlung_imbalance": qlung_imbalance,
    "qlung": qlung,
    "qlung_dass": qlung_dass,
    "qlung_fixed_dass_nano": qlung_fixed_dass_nano,
    "qlung_quality_dass_nano": qlung_quality_dass_nano,
    "qlung_imbalance_dass_nano": qlung_imbalance_dass_nano,
    "qlung_dass_nano": qlung_dass_nano,
    "lung_srad_qlung": lung_srad_qlung,
    "lung_srad_sam": lung_srad_sam,
    "lung_srad_qlung_sam": lung_srad_qlung_sam,
    "lung_srad_qlung_nano": lung_srad_qlung_nano,
    "lung_srad_sam_nano": lung_srad_sam_nano,
    "lung_srad_qlung_sam_nano": lung_srad_qlung_sam_nano,
    "mn04": mn04,
    "mn04_scratch": mn04_scratch,
    "ast": ast,
    "ast_nano": ast_nano,
    "patch_mix_cl": patch_mix_cl,
    "patch_mix_cl_nano": patch_mix_cl_nano,
    "lung_adapter": lung_adapter,
    "ast_adapter": ast_adapter,
    "ast_lora": ast_lora,
    "patch_mix_ce": patch_mix_ce,
    "sg_scl": sg_scl,
    "sg_scl_nano": sg_scl_nano,
    "dat": dat,
    "dat_nano": dat_nano,
    "cnn6": cnn6,
    "cnn6_nano": cnn6_nano,
    "shortcut_duration": shortcut_duration,
    "shortcut_device": shortcut_device,
    "shortcut_demographics": shortcut_demographics,
    "shortcut_all": shortcut_all,
    "trees_logmel": trees_logmel,
    "auscult_nano": auscult_nano,
    "demo": demo,
}


def recipe(name: str) -> RecipeSpec:
    """The recipe of that name.

    Raises:
        AuscultError: E_SETTING, for a name that does not exist; says the nearest.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]()


__all__ = ["RECIPES", "SWEEPS", "Recipe", "RecipeSpec", "TableRecipe", "recipe"]
