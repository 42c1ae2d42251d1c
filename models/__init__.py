"""Bundles: what a model needs to be served, explained and compared, in one model-store entry."""
