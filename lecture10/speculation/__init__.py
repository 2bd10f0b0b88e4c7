"""The speculative room (book/Lecture10-Lab-Speculative.ipynb): speculation run on a real model, and when it pays.

``loop`` the one loop for every draft and rule; ``drafts`` what proposes tokens; ``rules`` other rules of verification,
lossless and lossy, and ``trees`` of several children; ``law`` the exact law of what a program draws, ``proofs`` that of
the loop; ``optimum`` the best that any lossless rule can do; ``acceptance`` measured lengths and their schedules;
``runs`` timed runs on the model; ``costs`` the context from which a draft with part of the cache pays; ``faults`` what
goes wrong unseen.
"""
