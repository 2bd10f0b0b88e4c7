"""The command ``lecture10``: ``options`` what may be asked, ``answer`` what is reported, ``screen`` how it is shown.

It stands above all rooms: it asks the models room for an answer and the measurements room for a comparison.
"""
