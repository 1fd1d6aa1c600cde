"""No unpickler within reach of `predict`, `serve` or `load`: not in the source, not in a real prediction.

numba keeps its own compiled functions beside the package, or in NUMBA_CACHE_DIR, as pickles. They come from this
machine and from no model; they are the one exception, by name.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..web_parts import breath, tiny_weights

PACKAGE = Path(__file__).parents[2] / "src" / "auscult"
CHILD = PACKAGE / "unpickle.py"
STARTS = ("__init__", "predict", "web.worker", "web.app", "cli.prediction", "cli.serve", "cli.app")
MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "unpickle",
}
CALLS = {("torch", "load"), ("jit", "load"), ("package", "PackageImporter"), ("pandas", "read_pickle")}
PROGRAM = """
import json, sys, traceback
seen = []
def hook(event, _):
    if event == "pickle.find_class":
        seen.append([frame.filename for frame in traceback.extract_stack()])
sys.addaudithook(hook)
import pathlib, pickle
control = pickle.dumps(pathlib.Path("a"))
pickle.loads(control)
assert len(seen) == 1, "the hook sees nothing"
seen.clear()
import auscult
from auscult.web.analysis import analyse
model = auscult.load(sys.argv[1], device="cpu")
assert model.predict(sys.argv[2]).cycles
analyse(model, pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), lambda share: None)
print(json.dumps({"seen": seen, "child": "auscult.unpickle" in sys.modules}))
"""


def modules() -> dict[str, Path]:
    """Every module of the package by its name below `auscult`."""
    found = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): file for name, file in found.items()}


def imports(file: Path) -> set[str]:
    """Names that a file imports, wherever in it; those of the package as ``auscult.`` and their path."""
    package = ["auscult", *file.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            found |= {whole, *(f"{whole}.{alias.name}" for alias in node.names)}
    return found


def closure() -> set[str]:
    """Modules of the package that the starts import, directly or not."""
    known, todo, seen = modules(), list(STARTS), set[str]()
    while todo:
        name = todo.pop()
        if name in known and name not in seen:
            seen.add(name)
            parents = name.rsplit(".", 1)[:1] if "." in name else []
            todo += [*parents, *(i.removeprefix("auscult.") for i in imports(known[name]) if i.startswith("auscult."))]
    return seen


def offences(file: Path) -> list[str]:
    """What in a file could unpickle."""
    found = [name for name in imports(file) if MODULES & set(name.split("."))]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name | ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else node.func.value.attr
                found += [f"{owner}.{node.func.attr}"] if (owner, node.func.attr) in CALLS else []
            found += [word.arg for word in node.keywords if word.arg == "allow_pickle"]
    return found


def test_nothing_in_reach_unpickles() -> None:
    reached = closure()
    assert {"predict", "signal.io", "models.weights", "web.worker", "box", "models.convert"} <= reached
    assert "unpickle" not in reached
    assert not {name: bad for name in reached if (bad := offences(modules()[name]))}


def test_nothing_else_in_the_package_does_either() -> None:
    bad = {file.name: offences(file) for file in PACKAGE.rglob("*.py") if file != CHILD and offences(file)}
    assert not bad


def test_the_child_reads_with_the_restricted_unpickler() -> None:
    assert {"pickle", "torch.load"} <= set(offences(CHILD))  # and the scan sees what it looks for
    loads = [
        node
        for node in ast.walk(ast.parse(CHILD.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert len(loads) == 1
    assert {word.arg: ast.unparse(word.value) for word in loads[0].keywords}["weights_only"] == "True"


@pytest.mark.slow
def test_no_class_is_unpickled_in_a_real_prediction(tmp_path: Path) -> None:
    weights, sound = tiny_weights(tmp_path / "a.safetensors"), breath(tmp_path / "a.wav")
    words = [sys.executable, "-c", PROGRAM, str(weights), str(sound), str(tmp_path)]
    done = subprocess.run(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    strange = [stack for stack in told["seen"] if not any("/numba/core/caching.py" in name for name in stack)]
    assert not strange and not told["child"]
