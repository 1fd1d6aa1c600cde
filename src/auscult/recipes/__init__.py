"""Floor 3: what runs. A recipe is a function that returns a `Recipe`, and one line in `RECIPES`."""

from collections.abc import Callable

from ..errors import unknown
from .dass import dass, dass_nano, dass_small
from .demo import demo
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
from .recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
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
    "demo": demo,
}


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        AuscultError: E_SETTING, for a name that does not exist; says the nearest.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]()


__all__ = ["RECIPES", "SWEEPS", "Recipe", "recipe"]
