"""Understudy: serve a production model, shadow its candidates, and decide with evidence."""

__version__ = "0.1.0"
