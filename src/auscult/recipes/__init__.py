"""Floor 3: what runs. A recipe is a function that returns a `Recipe`, and one line in `RECIPES`."""

from collections.abc import Callable

from ..errors import unknown
from .dass import dass_medium, dass_nano, dass_small
from .demo import demo
from .recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "dass_nano": dass_nano,
    "dass_small": dass_small,
    "dass_medium": dass_medium,
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


__all__ = ["RECIPES", "Recipe", "recipe"]
