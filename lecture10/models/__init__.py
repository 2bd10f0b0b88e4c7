"""The models room (book/Lecture10-Lab-Models.ipynb): released models and what they cost on accelerators.

``layers`` a layer and its attention as weight matrices, ``experts`` its other half (MLP, mixture of experts),
``passes`` what the matrices cost in a pass, ``windows`` what a layer sees; ``mixer`` what a half that mixes positions
keeps, ``recurrent`` those with a state, ``sparse`` those that choose (book/Lecture10-Lab-Attention.ipynb), ``paged``
what an engine sets aside for them; ``formats`` how a matrix is stored; ``transformer`` a whole model; ``deployment`` a
model on devices, ``parallel`` how several share it, ``bounds`` what its times take for granted. ``load`` finds a file
and reads it with suspicion (``config``): ``families`` its shapes, which are made of ``parts`` (``dense``, ``mixtures``,
``hybrids``, ``choosing``, ``gemmas``), ``defaults`` what it leaves out, ``context`` its longest context, ``quantized``
and ``compressed`` its formats, which ``store`` gives to each matrix by name (``modules``, ``names``), ``files`` and
``gguf_file`` the true bytes, ``vision`` what stands beside the language model, ``recognise`` what is no model.
"""
