"""Classes of one data set as those of another: named maps with a version, kept in label_maps.toml.

Both ways go through the same classes in the middle: those of the model and those of the data are each mapped to the
classes of the map, so one map scores an ICBHI model on SPRSound and a SPRSound model on ICBHI.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ..errors import AuscultError, unknown
from ..metrics import Task

FILE = "label_maps.toml"
DEFAULT = "qlung"


@dataclass(frozen=True, kw_only=True)
class LabelMap:
    """A way to read the classes of several data sets as the same few.

    Args:
        name: in label_maps.toml.
        version: of that file.
        source: who reads them so.
        classes: of the map; the first is normal.
        labels: class of a data set -> class of the map; "" leaves it out.
        tasks: what is scored over `classes`.
    """

    name: str
    version: str
    source: str
    classes: tuple[str, ...]
    labels: dict[str, str]
    tasks: tuple[Task, ...]

    def places(self, classes: Sequence[str], whose: str) -> list[int | None]:
        """For each class of a model or a data set its index in the map's classes; None for one that is left out.

        >>> label_map("qlung").places(["Normal", "Stridor", "Fine Crackle"], "sprsound")
        [0, 2, 1]

        Args:
            whose: what has these classes, for the error.

        Raises:
            AuscultError: E_SETTING for a class that the map does not name, or where it leaves out all of them.
        """
        strangers = [name for name in classes if name not in self.labels]
        if strangers:
            raise AuscultError(
                "E_SETTING",
                f"label map {self.name!r} (version {self.version}) does not say what {', '.join(strangers)} of {whose} "
                f"would be; it knows {', '.join(self.labels)}.",
            )
        found = [self.classes.index(self.labels[name]) if self.labels[name] else None for name in classes]
        if all(place is None for place in found):
            raise AuscultError("E_SETTING", f"label map {self.name!r} leaves out every class of {whose}.")
        return found

    def words(self, classes: Sequence[str]) -> str:
        """What becomes of these classes, those that keep their name left unsaid.

        >>> label_map("sdat_wheeze").words(["normal", "Rhonchi"])
        'normal as no wheeze; Rhonchi left out'
        """
        said: dict[str, list[str]] = {}
        for name in classes:
            if self.labels[name].lower() != name.lower():
                said.setdefault(self.labels[name], []).append(name)
        return "; ".join(f"{', '.join(names)} {f'as {to}' if to else 'left out'}" for to, names in said.items())


def label_map(name: str = DEFAULT) -> LabelMap:
    """The map of that name.

    Raises:
        AuscultError: E_SETTING for an unknown name.
    """
    maps = label_maps()
    if name not in maps:
        raise unknown("label map", name, maps)
    return maps[name]


@cache
def label_maps() -> dict[str, LabelMap]:
    """Every map of the package, by name."""
    content = tomllib.loads((files(__package__) / FILE).read_text(encoding="utf-8"))
    version = content.pop("version")
    return {name: made(name, version, said) for name, said in content.items()}


def made(name: str, version: str, said: dict[str, Any]) -> LabelMap:
    """A map from its table in the file.

    Raises:
        ValueError: a label or a task that does not fit the map's classes.
    """
    classes = tuple(said["classes"])
    wrong = sorted(set(said["labels"].values()) - {*classes, ""})
    if wrong:
        raise ValueError(f"label map {name}: {wrong} is no class of it; there are {classes}")
    return LabelMap(
        name=name,
        version=version,
        source=said["source"],
        classes=classes,
        labels=dict(said["labels"]),
        tasks=tuple(task(title, groups, classes) for title, groups in said["tasks"].items()),
    )


def task(name: str, groups: Sequence[str], classes: Sequence[str]) -> Task:
    """A task from the group of each class.

    >>> task("2-class", ["normal", "abnormal", "abnormal"], ["normal", "crackle", "wheeze"]).mapping
    (0, 1, 1)
    """
    if len(groups) != len(classes):
        raise ValueError(f"task {name!r} groups {len(groups)} classes; the map has {len(classes)}")
    names = tuple(dict.fromkeys(groups))
    return Task(name=name, classes=names, mapping=tuple(names.index(group) for group in groups))
