from pathlib import Path

import pytest

from auscult.analysis.study_page import main, put
from auscult.errors import AuscultError
from auscult.recipes import RECIPES
from auscult.recipes.studies import STUDIES

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_a_table_stands_between_its_own_comments() -> None:
    page = "# A\n<!-- study a -->\nold\n<!-- end -->\nwords\n<!-- study ab -->\nkept\n<!-- end -->\n"
    made = put(page, "a", "| 1 |\n")
    assert made == page.replace("\nold\n", "\n\n| 1 |\n\n")
    assert put(made, "a", "| 1 |\n") == made


def test_a_study_without_a_place_is_refused() -> None:
    with pytest.raises(AuscultError, match="no place for b"):
        put("<!-- study a -->\n<!-- end -->\n", "b", "")


def test_the_page_of_results_is_what_its_records_make(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text((DOCS / "results.md").read_text())
    records = sorted((DOCS / "results" / "studies").glob("*.json"))
    assert records
    main([str(page), *map(str, records)])
    assert page.read_text() == (DOCS / "results.md").read_text()


@pytest.mark.parametrize("name", ["sam_ablation", "qlung_ablation", "combinations", "lung_srad_table2"])
@pytest.mark.parametrize("size", ["nano", "medium"])
def test_the_rows_of_a_study_are_recipes(name: str, size: str) -> None:
    rows = STUDIES[name](size).rows  # type: ignore[arg-type]
    assert len(rows) > 2 and all(row.recipe in RECIPES for row in rows)


def test_a_size_that_a_study_has_not() -> None:
    with pytest.raises(AuscultError, match="medium, nano"):
        STUDIES["sam_ablation"]("small")
