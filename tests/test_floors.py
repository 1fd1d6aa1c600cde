"""A file imports its own floor and those below, never one above; no file is over 400 lines."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "auscult"
FLOORS = [
    {
        "version",
        "cluster",
        "checkpoint",
        "errors",
        "batch",
        "blas",
        "weightsfile",
        "config",
        "runs",
        "progress",
        "fetch",
        "compute",
        "signal",
        "tracking",
        "formats",
        "ranks",
        "tensorfile",
        "unpickle",
    },
    {"data", "light", "models", "metrics", "statistics", "variance", "calibration"},
    {"objectives", "optim"},
    {"train", "train_ray", "table", "teach", "evaluate", "out_of_domain", "study", "study_ray", "recipes", "launch"},
    {
        "cli",
        "predict",
        "network",
        "prediction",
        "scoring",
        "workers",
        "ray_workers",
        "breaths",
        "box",
        "export",
        "onnx_export",
        "web",
        "analysis",
        "bench",
        "demo",
        "__init__",
        "__main__",
    },
]
FILES = sorted(PACKAGE.rglob("*.py"))


def floor(part: str) -> int:
    for number, names in enumerate(FLOORS):
        if part in names:
            return number
    raise AssertionError(f"{part!r} stands on no floor; add it to FLOORS in {Path(__file__).name}")


def imported(file: Path) -> set[str]:
    """Top-level parts of the package that a file imports, wherever in the file."""
    depth = len(file.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("auscult"):
            found.add((node.module or "").partition(".")[2].split(".")[0] or "__init__")
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == "auscult" and len(parts) > 1}
    return {name for name in found if name != "__version__"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_import_from_a_higher_floor(file: Path) -> None:
    own = floor(file.relative_to(PACKAGE).parts[0].removesuffix(".py"))
    higher = {part for part in imported(file) if floor(part) > own}
    assert not higher, f"floor {own} imports {higher}"


def test_the_parser_sees_imports() -> None:
    assert {"metrics", "signal", "config"} <= imported(PACKAGE / "data" / "store.py") | imported(
        PACKAGE / "statistics.py"
    )


def test_no_file_is_longer_than_400_lines() -> None:
    files = [*FILES, *(ROOT / "tests").rglob("*.py")]
    assert not {f.name: n for f in files if (n := len(f.read_text().splitlines())) > 400}
