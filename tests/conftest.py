"""Fixtures that several test files share. Shapes in `signal`, `models` and `objectives` are checked while tests run."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CHECKED = ["auscult.signal", "auscult.models", "auscult.objectives"]
install_import_hook(CHECKED, "beartype.beartype").__enter__()
# a command run by a test must not change how the tests after it multiply; test_compute.py undoes this for itself
os.environ["AUSCULT_MATMUL"] = "default"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with `icbhi`, `sprsound` and `weights`, from AUSCULT_DATA or beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("AUSCULT_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder}; set AUSCULT_DATA to the folder that holds them")
    return folder
