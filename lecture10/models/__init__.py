"""The models room (book/Lecture10-Lab-Models.ipynb): released models and what they cost on accelerators.

``layers`` the halves of a layer as weight matrices (attention, MLP, mixture of experts); ``transformer`` a whole
model; ``config`` and ``families`` a ``config.json`` read with suspicion; ``deployment`` a model on devices,
``parallel`` how several share it, ``bounds`` what its times take for granted.
"""
