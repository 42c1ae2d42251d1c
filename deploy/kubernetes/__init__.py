"""Manifests for Kubernetes; ``python -m deploy.kubernetes`` writes those that are made of code."""
