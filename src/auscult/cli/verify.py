"""`auscult verify`: are these tables what the predictions say?"""

from pathlib import Path

SHOWN = 50  # of all that is wrong


def verify(folder: Path, /) -> int:
    """Makes every table again from the predictions and fails on the first digit that is not the same.

    Exit code: 0 when all is as it should be, 1 when something is not; each place is named.

    Args:
        folder: a run folder, a study, a folder with several of them, or docs with results.md and results/.
    """
    from rich.console import Console

    from ..analysis.verify import verify as verify_folder
    from ..progress import say

    found = verify_folder(folder)
    console = Console(soft_wrap=True)
    for mismatch in found.wrong[:SHOWN]:
        console.print(f"wrong: {mismatch}", highlight=False, markup=False)
    if len(found.wrong) > SHOWN:
        console.print(f"and {len(found.wrong) - SHOWN} more", highlight=False, markup=False)
    for remark in found.remarks:
        say(f"note: {remark}")
    checked = ", ".join(f"{count} {kind}" for kind, count in found.checked.items())
    end = f"{len(found.wrong)} mismatches" if found.wrong else "every figure follows from the predictions"
    console.print(f"{checked} checked: {end}", highlight=False, markup=False)
    return 1 if found.wrong else 0
