"""``python -m auscult`` is ``auscult``."""

from .cli import main

main()
