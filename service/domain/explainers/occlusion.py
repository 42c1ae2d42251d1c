"""Occlusion (Zeiler & Fergus, arXiv 1311.2901): what is lost where one player takes other rows' values.

A player's value is f(x) minus the mean of f over background rows that lend x that player's columns, all
others unchanged. It is the player's contribution to the full coalition alone: players that stand in for each
other each get nothing, so nothing adds up. ``standard_errors`` are of the estimate from the background rows
used for the mean over all of them (see ``background_mean``); they are 0 where all were used.

``occlusion`` takes the model's own players: columns, or patches of a picture. ``occlusion-superpixels`` cuts
each picture along its own edges first; ``detail`` then says which segment a pixel is in and what each is
worth, and a player's value is the sum over its pixels of an equal share of their segment's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.explainers.background_mean import Average, average
from service.domain.explainers.coalitions import (
    Case,
    Ground,
    ground_of,
    in_time,
    run_rows,
    shares_of_time,
    too_late,
)
from service.domain.explainers.game import Ask, Explanation, Method, Players, Subject, Unsuitable
from service.domain.explainers.image_players import pixel_columns, superpixels
from service.domain.explainers.manifold import LOOKED_AT, manifold_of, warning
from service.domain.explainers.slopes import pixels
from service.domain.schema import FeatureBatch
from service.errors import DeadlineError

FEWEST = 2
"""Background rows without which there is no error to state."""
SEGMENTS = 32
"""Superpixels of a picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Lost:
    """What was measured for one row."""

    mean: Average
    """For each of the players that were occluded."""
    rows: int
    """Background rows used."""
    planned: int
    off_manifold_share: float | None


class Occlusion:
    """The method at work on one model."""

    name = "occlusion"

    def __init__(self, subject: Subject) -> None:
        self._ground = ground_of(subject)
        self._manifold = manifold_of(subject)

    def __call__(self, rows: FeatureBatch, ask: Ask, due: float) -> list[Explanation]:
        """See ``game.Explainer``; ``rows_evaluated`` never exceeds ``ask.max_evals``."""
        cases = self._ground.cases(rows, ask)
        turns = zip(cases, shares_of_time(len(cases), due), strict=True)
        return [self._explain(case, ask, turn) for case, turn in turns]

    def _explain(self, case: Case, ask: Ask, due: float) -> Explanation:
        lost = self._occlude(self._ground, case, ask, due)
        return self._told(case, lost, lost.mean.values, lost.mean.standard_errors, {})

    def _occlude(self, ground: Ground, case: Case, ask: Ask, due: float) -> Lost:
        """Each player of ``ground`` replaced in turn by what several background rows have there."""
        background, players = ground.subject.background, len(ground.subject.players)
        planned = min(len(background), (ask.max_evals - 1) // players)
        if planned < FEWEST:
            needed = FEWEST * players + 1
            raise Unsuitable(f"max_evals {ask.max_evals} is too few for {players} players: needs {needed}")
        drawn = np.random.default_rng(ask.seed).permutation(len(background))[:planned]
        hidden = np.arange(players)[:, None] == ground.subject.players.owner()  # [players, width]
        most = max(1, run_rows(background) // players)
        losses, seen = [np.empty((0, players))], []
        for part in in_time(planned, most, due, FEWEST):
            mixed = np.where(hidden, background[drawn[part], None], case.row).reshape(-1, len(case.row))
            losses.append(case.served - case.values(mixed).reshape(-1, players))
            seen.append(mixed[:: max(1, len(mixed) // LOOKED_AT)])
        shares = np.concatenate(losses)
        if len(shares) < FEWEST:
            raise DeadlineError(f"the deadline passed after {len(shares)} background rows")
        mean = average(shares, drawn[: len(shares)], ground.controls(case), noiseless=True)
        return Lost(mean, len(shares), planned, self._manifold.share(_some(np.concatenate(seen))))

    def _told(
        self,
        case: Case,
        lost: Lost,
        values: NDArray[np.float64],
        standard_errors: NDArray[np.float64],
        detail: Mapping[str, Any],
    ) -> Explanation:
        players = len(lost.mean.values)
        evaluated = 1 + lost.rows * players
        return Explanation(
            method=self.name,
            exact=False,
            output=case.output,
            label=case.label,
            base_value=case.base,
            values=values,
            standard_errors=standard_errors,
            rows_evaluated=evaluated,
            off_manifold_share=lost.off_manifold_share,
            degraded=None if lost.rows == lost.planned else too_late(evaluated, 1 + lost.planned * players),
            detail={"background_rows": lost.rows, **detail, **warning(lost.off_manifold_share)},
        )


class SuperpixelOcclusion(Occlusion):
    """The same with each picture's own segments in place of the model's players."""

    name = "occlusion-superpixels"

    def __init__(self, subject: Subject) -> None:
        grid = pixel_columns(subject.spec.schema.shape) if subject.spec.schema.layout == "image" else None
        if grid is None:
            raise Unsuitable("only a picture has superpixels")
        super().__init__(subject)
        self._grid = grid

    def _explain(self, case: Case, ask: Ask, due: float) -> Explanation:
        segments = superpixels(case.row[self._grid], SEGMENTS)
        own = [np.sort(self._grid[segments == number].ravel()) for number in range(segments.max() + 1)]
        players = Players(tuple(f"segment {number}" for number in range(len(own))), tuple(own))
        subject = self._ground.subject
        ground = Ground(replace(subject, players=players), self._ground.scores)
        lost = self._occlude(ground, case, ask, due)
        sizes = np.array([len(part) for part in own])
        shares = _shares(players, subject.players) / sizes
        detail = {
            "segments": segments.tolist(),
            "segment_values": lost.mean.values.tolist(),
            "segment_standard_errors": lost.mean.standard_errors.tolist(),
            **pixels(subject, (lost.mean.values / sizes)[players.owner()]),
        }
        errors = np.abs(shares) @ lost.mean.standard_errors
        return self._told(case, lost, shares @ lost.mean.values, errors, detail)


def _shares(segments: Players, players: Players) -> NDArray[np.float64]:
    """How many columns each player has of each segment, [players, segments]."""
    found = np.zeros((len(players), len(segments)))
    np.add.at(found, (players.owner(), segments.owner()), 1)
    return found


def _some(rows: FeatureBatch) -> FeatureBatch:
    """About ``LOOKED_AT`` of the rows, evenly."""
    return rows[:: max(1, len(rows) // LOOKED_AT)]


OCCLUSION = Method("occlusion", Occlusion, additive=False)
OCCLUSION_SUPERPIXELS = Method("occlusion-superpixels", SuperpixelOcclusion, additive=False)
