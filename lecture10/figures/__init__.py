"""Figures: one module for each room or notebook. Importing any of them sets the style of the book; only this folder imports
Matplotlib.
"""

from . import style  # noqa: F401
