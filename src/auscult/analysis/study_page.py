"""Puts the tables of stored studies and comparisons into a page of docs, each between two comments that name it.

python -m auscult.analysis.study_page docs/results.md docs/results/studies/*.json [docs/results/NAME/compare.json ...]

A study that the page does not name yet is refused: its heading and the words around it are a person's.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import AuscultError
from ..runs import read_json, write_text
from .compare_table import markdown as comparison
from .study_table import markdown


def put(page: str, name: str, table: str, kind: str = "study") -> str:
    """`page` with `table` between the comments of the study, or the comparison, of that name.

    >>> put("<!-- study a -->\\nold\\n<!-- end -->\\n", "a", "new\\n")
    '<!-- study a -->\\n\\nnew\\n\\n<!-- end -->\\n'

    Raises:
        AuscultError: E_DATA when the page has no such comments.
    """
    place = re.compile(rf"(?<=<!-- {kind} {re.escape(name)} -->\n).*?(?=<!-- end -->)", re.DOTALL)
    if not place.search(page):
        raise AuscultError("E_DATA", f"the page has no place for {name}; add <!-- {kind} {name} --> and <!-- end -->.")
    return place.sub(lambda _: f"\n{table}\n", page, count=1)


def main(arguments: Sequence[str]) -> None:
    """Writes the page anew from the records."""
    file, *records = map(Path, arguments)
    page = file.read_text(encoding="utf-8")
    for record in records:
        known = read_json(record)
        if "systems" in known:
            page = put(page, record.parent.name, comparison(known), "comparison")
        else:
            page = put(page, record.stem, markdown(known))
    write_text(file, page)


if __name__ == "__main__":
    main(sys.argv[1:])
