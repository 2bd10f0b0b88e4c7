"""The speculative room (book/Lecture10-Lab-Speculative.ipynb): speculation run on a real model, and when it pays.

``loop`` the one loop for every draft and rule; ``drafts`` what proposes tokens; ``rules`` other rules of verification,
lossless and lossy, and ``trees`` of several children; ``law`` the exact law of what a program draws; ``optimum`` the
best that any lossless rule can do; ``acceptance`` measured lengths and their schedules; ``costs`` the verification
curve of an accelerator and the context from which speculation pays.
"""
