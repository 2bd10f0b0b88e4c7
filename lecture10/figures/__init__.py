"""Figures: one module for each room or notebook; only this folder imports Matplotlib.

Importing any of them sets the style of the book.
"""

from . import style  # noqa: F401
