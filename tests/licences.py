"""What auscult needs at run time, with versions and licences, and the shared libraries inside the wheels.

    python -m tests.licences

Exit code 1 where a licence is not among those that were looked at. Run in an environment with all extras.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.licenses import canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
EXTRAS = ("torch", "train", "serve", "explain", "tables", "bench", "onnx", "ray")
ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "HPND", "ISC"),
        *("LLVM-exception", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unicode-3.0", "Unlicense", "Zlib"),
        "LGPL-2.1-or-later",  # soxr: a module of its own that can be exchanged; we change nothing in it
    }
)
# licences that the metadata tells in words; the texts inside the wheels were read
TOLD = {
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD-3-clause": "BSD-3-Clause",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "3-Clause BSD License": "BSD-3-Clause",
}
# shared libraries under GPL or LGPL inside wheels, by the start of their file name
COPYLEFT = {
    "libsndfile": "LGPL-2.1-or-later; loaded by soundfile at run time, a file that can be exchanged",
    "soxr_ext": "LGPL-2.1-or-later; libsoxr inside the module that soxr is, which can be exchanged",
    "libgomp": "GPL-3.0 with the GCC Runtime Library Exception; linked dynamically",
    "libgfortran": "GPL-3.0 with the GCC Runtime Library Exception; linked dynamically",
    "libquadmath": "LGPL-2.1-or-later; linked dynamically",
}


def runtime() -> list[Distribution]:
    """auscult's requirements and those of its extras, and theirs, as they are installed; by name.

    Raises:
        PackageNotFoundError: for one that is not installed.
    """
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(text for extra in EXTRAS for text in project["optional-dependencies"][extra])]
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(needed(asked, ""))
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in seen:
            seen.add((name, extra))
            found[name] = distribution(name)
            waiting += needed(found[name].requires or [], extra)
    return [found[name] for name in sorted(found)]


def needed(requirements: list[str], extra: str) -> Iterator[tuple[str, str]]:
    """Name and extra of what requirements ask for on this machine, for one extra of who requires them."""
    for text in requirements:
        one = Requirement(text)
        if one.marker is None or one.marker.evaluate({"extra": extra}):
            yield from ((canonicalize_name(one.name), part) for part in ("", *one.extras))


def licence(package: Distribution) -> str:
    """The licence as an SPDX expression, or what the metadata says where that is in no list."""
    told = package.metadata
    if expression := told.get("License-Expression"):
        return str(canonicalize_license_expression(expression))
    classes = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier", []) if c.startswith("License :: OSI")]
    classes += [c.rpartition(" :: ")[2] for c in told.get_all("Classifier", []) if "Python Software" in c]
    words = (told.get("License") or "").strip().splitlines()
    for text in [*classes, *words[:1]]:
        if text in TOLD or text in ALLOWED:
            return TOLD.get(text, text)
    return (words or ["UNKNOWN"])[0][:60]


def parts(expression: str) -> set[str]:
    """The licences of an expression.

    >>> sorted(parts("Apache-2.0 WITH LLVM-exception OR (MIT AND BSD-3-Clause)"))
    ['Apache-2.0', 'BSD-3-Clause', 'LLVM-exception', 'MIT']
    """
    return set(re.sub(r"[()]|\b(AND|OR|WITH)\b", " ", expression).split())


def libraries(package: Distribution) -> list[str]:
    """Shared libraries under GPL or LGPL in the files of a package."""
    names = {Path(str(file)).name for file in package.files or []}
    return sorted(name for name in names if ".so" in name and name.startswith(tuple(COPYLEFT)))


def main() -> int:
    """The exit code."""
    try:
        packages = runtime()
    except PackageNotFoundError as error:
        print(f"{error.name} is not installed; run `make setup` first", file=sys.stderr)
        return 1
    strange = []
    for package in packages:
        print(f"{package.name}\t{package.version}\t{licence(package)}")
        strange += [package.name] if parts(licence(package)) - ALLOWED else []
    print("\nUnder GPL or LGPL inside the wheels:")
    for package in packages:
        for library in libraries(package):
            words = next(words for start, words in COPYLEFT.items() if library.startswith(start))
            print(f"{package.name}\t{library}\t{words}")
    if strange:
        print(f"\nnot looked at yet: {', '.join(strange)}; read the licence, then add it to tests/licences.py")
    return 1 if strange else 0


if __name__ == "__main__":
    sys.exit(main())
