"""docs/results.md and the records beside it: `auscult verify docs` finds nothing wrong; other runs make no table."""

from pathlib import Path

import pytest

from auscult.analysis.ledger import table
from auscult.analysis.verify import verify

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_every_figure_of_the_page_follows_from_what_is_stored() -> None:
    found = verify(DOCS)
    assert found.checked["pages"] == 1
    assert not list(map(str, found.wrong))


def test_runs_of_different_kinds_are_not_put_in_one_table() -> None:
    one = {"dataset": "a", "split": "official", "classes": [], "facts": {"selection": "last"}, "parts": {}}
    with pytest.raises(ValueError, match="dataset"):
        table([one, one | {"dataset": "b"}])
    with pytest.raises(ValueError, match="epoch was chosen"):
        table([one, one | {"facts": {"selection": "best_on_test"}}])
