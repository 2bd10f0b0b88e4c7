"""Measurements and the bound of each: ``published`` runs of whole models, ``timings`` of products, layers and passes.

Stands above the models and speculative sampling.
"""
