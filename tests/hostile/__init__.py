"""Files that are wrong in every way that was met or could be thought of, each with the answer it must get.

Nothing is stored: `sounds`, `sound_files`, `annotations` and `checkpoints` make them. A finding of
`python -m tests.fuzz` becomes a case here.
"""

OK = "ok"
"""The answer of a file that can be used; every other is a code of `auscult.errors`."""
