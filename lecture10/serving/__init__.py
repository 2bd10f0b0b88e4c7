"""The serving room (book/Lecture10-Lab-Serving.ipynb; Main section 6): how requests share steps and memory.

``blocks`` the memory of the cache in blocks, ``scheduler`` who goes into a step, ``clock`` how long it takes,
``replay`` requests through both, ``run`` what came of it, ``disaggregated`` prefill and generation apart; ``traces``
and ``queues`` all small cases against the rules; ``memory`` allocation in one piece; ``published`` runs of real
engines; ``paged`` the book's own engine on the same blocks.
"""
