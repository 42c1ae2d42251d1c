"""Demo bundles: real data, honest splits, and the recipes that train on them."""
