"""The command line. Commands import torch and the like inside, so that ``auscult --help`` is instant."""

from .app import main

__all__ = ["main"]
