"""Published measurements and the bound of each; stands above the models and speculative sampling."""
