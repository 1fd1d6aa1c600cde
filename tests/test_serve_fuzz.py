"""A few hundred requests to the local page's server; the many are ``python -m tests.serve_fuzz``."""

import sys
from pathlib import Path

import pytest

from .serve_fuzz import fuzzed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="follows open folders in /proc")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")  # schemathesis does
def test_requests_that_the_description_gives(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    with fuzzed(tmp_path) as (fuzz, outside):
        fuzz.requests(60, 0)
    assert not fuzz.mistakes and not outside and sum(fuzz.statuses.values()) >= 60


def test_names_that_lead_elsewhere(tmp_path: Path) -> None:
    with fuzzed(tmp_path) as (fuzz, outside):
        fuzz.names(20, 0)
        assert not fuzz.mistakes and not outside and set(fuzz.statuses) <= {0, 200, 202, 204, 404, 405, 422}
        (tmp_path / "b.txt").write_text("seen")  # it can fail
    assert outside == [str(tmp_path / "b.txt")]
