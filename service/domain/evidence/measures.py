"""Every measure of disagreement: a new one needs its own file, its line here, and its test."""

from __future__ import annotations

from service.domain.disagreement.measure import Measure

DISAGREEMENT: tuple[Measure, ...] = ()
"""Of every compared row."""
JUDGEMENT: tuple[Measure, ...] = ()
"""Of rows whose truth is known."""
