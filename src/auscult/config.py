"""Settings: frozen dataclasses to and from plain dictionaries, `key=value` overrides, and a fingerprint.

A *spec* is a frozen keyword-only dataclass with a `kind`, for instance ``dass`` or ``cross_entropy``: a recipe can name
any spec where it has a slot for one, and the saved JSON says which it was.
"""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, TypeVar, dataclass_transform

from .errors import AuscultError, unknown

SPECS: dict[str, type] = {}
T = TypeVar("T")

ADDED = types.MappingProxyType({"added": True})
"""``field(default=..., metadata=ADDED)``: a setting that came later. `to_dict` leaves it out while it has its default,
so recipes, fingerprints and stores from before stay what they were."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
def spec(kind: str) -> typing.Callable[[type[T]], type[T]]:
    """Class decorator: a frozen keyword-only dataclass, saved and found again under `kind`."""

    def register(cls: type[T]) -> type[T]:
        made = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if kind in SPECS:
            raise ValueError(f"two specs are named {kind!r}: {SPECS[kind].__qualname__} and {cls.__qualname__}")
        SPECS[kind] = made
        made.kind = kind  # type: ignore[attr-defined]
        return made

    return register


def to_dict(value: Any, *, every: bool = False) -> Any:
    """A spec, or anything inside one, as JSON-ready values; a spec carries its `kind`.

    Args:
        every: with the `ADDED` settings too that have their default.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        head = {"kind": value.kind} if hasattr(value, "kind") else {}
        shown = [f for f in dataclasses.fields(value) if every or not _left_out(f, value)]
        return head | {f.name: to_dict(getattr(value, f.name), every=every) for f in shown}
    if isinstance(value, tuple | list):
        return [to_dict(v, every=every) for v in value]
    return value


def _left_out(setting: dataclasses.Field[Any], value: Any) -> bool:
    return "added" in setting.metadata and getattr(value, setting.name) == setting.default


def from_dict(cls: type[T], data: dict[str, Any], where: str = "") -> T:
    """The inverse of `to_dict`. Unknown keys and values of the wrong type are errors that name the place.

    Raises:
        AuscultError: E_SETTING.
    """
    data = dict(data)
    kind = data.pop("kind", None)
    if kind is not None:
        cls = typing.cast(type[T], _spec_named(kind, cls, where))
    hints = typing.get_type_hints(cls)
    names = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for key in data:
        if key not in names:
            raise unknown(f"setting in {where or cls.__name__}", key, names)
    try:
        return cls(**{key: _convert(hints[key], v, f"{where}.{key}".strip(".")) for key, v in data.items()})
    except (TypeError, ValueError) as error:
        raise AuscultError("E_SETTING", f"{where or cls.__name__}: {error}") from error


def _spec_named(kind: str, slot: type, where: str) -> type:
    allowed = {name: s for name, s in SPECS.items() if issubclass(s, slot)}
    if kind not in allowed:
        raise unknown(f"kind for {where or slot.__name__}", kind, allowed)
    return allowed[kind]


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotated type `hint`; strings from the command line are parsed."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is Literal:
        if value not in args:
            raise AuscultError("E_SETTING", f"{where}={value!r}; allowed: {', '.join(map(str, args))}.")
        return value
    if origin is tuple:
        items = _items(value) if isinstance(value, str) else value
        inner = [args[0]] * len(items) if args[-1] is Ellipsis else list(args)
        if len(inner) != len(items):
            raise AuscultError("E_SETTING", f"{where}={value!r}; {len(inner)} values are needed.")
        return tuple(_convert(h, v, where) for h, v in zip(inner, items, strict=True))
    if isinstance(hint, type) and (dataclasses.is_dataclass(hint) or isinstance(value, dict)):
        return _convert_spec(hint, value, where)
    return _convert_scalar(hint, value, where)


def _items(text: str) -> list[str]:
    """The parts of ``2,3,4``, ``[2, 3, 4]`` or ``(2,3,4)``; none of ``[]``."""
    text = text.strip()
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    return [item.strip() for item in text.split(",")] if text.strip() else []


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None or value == "none":
        if type(None) in args:
            return None
        raise AuscultError("E_SETTING", f"{where} cannot be none.")
    rest = [a for a in args if a is not type(None)]
    errors = []
    for hint in rest:
        try:
            return _convert(hint, value, where)
        except AuscultError as error:
            errors.append(error)
    raise errors[0]


def _convert_spec(hint: type, value: Any, where: str) -> Any:
    if isinstance(value, hint):
        return value
    if isinstance(value, str):
        value = {"kind": value}
    return from_dict(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is bool and isinstance(value, str):
        if value.lower() not in ("true", "false"):
            raise AuscultError("E_SETTING", f"{where}={value!r}; allowed: true, false.")
        return value.lower() == "true"
    if hint in (int, float) and isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = hint(value)
        except ValueError:
            number = None
        if number is None or (hint is int and float(value) != number):
            raise AuscultError("E_SETTING", f"{where}={value!r}; a number of type {hint.__name__} is needed.")
        return number
    if isinstance(hint, type) and not isinstance(value, hint):
        if hasattr(hint, "__subclasses__") and isinstance(value, str) and value in SPECS:
            return _convert_spec(hint, value, where)
        raise AuscultError("E_SETTING", f"{where}={value!r}; a value of type {hint.__name__} is needed.")
    return value


def override(base: T, settings: Iterable[str]) -> T:
    """`base` with ``a.b=value`` settings applied, in order.

    A slot that holds a spec may be given another kind: ``objective=cross_entropy`` puts that spec with its defaults.

    Raises:
        AuscultError: E_SETTING, for a setting without ``=``, an unknown key or an unfit value.
    """
    data = to_dict(base, every=True)
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise AuscultError("E_SETTING", f"{setting!r} is no setting; write key=value, for instance epochs=10.")
        *path, last = key.strip().split(".")
        node = data
        for depth, part in enumerate(path):
            node = _step(node, part, ".".join(path[:depth]))
        if last not in node:
            raise unknown(f"setting in {'.'.join(path) or type(base).__name__}", last, _keys(node))
        holds_spec = isinstance(node[last], dict) and value != "none"
        node[last] = _with_defaults(value) if holds_spec else value
    return from_dict(type(base), data)


def _with_defaults(kind: str) -> dict[str, Any]:
    """A spec named by its kind alone, so that a later setting can change a part of it."""
    made = SPECS.get(kind)
    complete = made is not None and all(
        f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        for f in dataclasses.fields(made)
    )
    return to_dict(made(), every=True) if made is not None and complete else {"kind": kind}


def _keys(node: dict[str, Any]) -> list[str]:
    return [k for k in node if k != "kind"]


def _step(node: dict[str, Any], part: str, where: str) -> dict[str, Any]:
    if part not in node:
        raise unknown(f"setting in {where or 'the recipe'}", part, _keys(node))
    if isinstance(node[part], str) and node[part] in SPECS:  # the setting before put it where there was none
        node[part] = _with_defaults(node[part])
    if not isinstance(node[part], dict):
        raise AuscultError(
            "E_SETTING", f"{where}.{part} is a single value ({node[part]!r}); it has no parts.".lstrip(".")
        )
    return typing.cast(dict[str, Any], node[part])


def fingerprint(value: Any, length: int = 12) -> str:
    """A short hash of a spec or JSON-ready value: equal settings, equal fingerprint."""
    text = json.dumps(to_dict(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under names with dots, as ``--set`` takes them.

    >>> flat({"epochs": 3, "optimizer": {"kind": "adamw", "lr": 0.1}, "classes": ["a", "b"]})
    {'epochs': 3, 'optimizer': 'adamw', 'optimizer.lr': 0.1, 'classes': 'a, b'}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif name == "kind":
            found |= {prefix.rstrip("."): value} if prefix else {}
        else:
            found[prefix + name] = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
    return found
