"""The models room (book/Lecture10-Lab-Models.ipynb): released models and what they cost on accelerators.

``layers`` the halves of a layer as weight matrices (attention, MLP, mixture of experts); ``formats`` how a matrix is
stored; ``transformer`` a whole model; ``deployment`` a model on devices. ``load`` finds a file and reads it with
suspicion (``config``): ``families`` its shapes, ``defaults`` what it leaves out, ``context`` its longest context,
``quantized`` and ``compressed`` its formats, which ``store`` gives to each matrix by name (``modules``), ``files`` and
``gguf_file`` the true bytes, ``vision`` what stands beside the language model, ``recognise`` what is no model.
"""
