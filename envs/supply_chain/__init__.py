"""Buying and placing stock as environments, over any network; presets from the literature."""
