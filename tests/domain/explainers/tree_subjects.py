"""Subjects whose model is a random ensemble, served in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.domain.explainers.game import Players, Structure, Subject
from service.domain.schema import Feature, FeatureBatch, ModelSpec, Schema, Scores, Task
from service.domain.trees import Rows, TreeEnsemble

CLASSES = {"regression": (), "binary": ("no", "yes"), "multiclass": ("a", "b", "c")}


def tree_subject(
    trees: TreeEnsemble,
    background: Rows,
    task: Task = "regression",
    owner: Sequence[int] = (),
    **changes: Any,
) -> Subject:
    """``trees`` over the columns of ``background``; ``owner`` is each column's player, itself if empty."""
    width = background.shape[1]
    owners = np.array(owner or range(width))
    players = Players(
        tuple(f"p{player}" for player in range(owners.max() + 1)),
        tuple(np.flatnonzero(owners == player) for player in range(owners.max() + 1)),
    )
    features = tuple(Feature(f"x{column}", "float", missing=True) for column in range(width))

    def predict(rows: FeatureBatch) -> Scores:
        return trees.scores(trees.margins(rows)).astype(np.float32)

    given: dict[str, Any] = {
        "predict": predict,
        "structure": Structure(lambda rows: rows, np.arange(width), trees),
        **changes,
    }
    spec = ModelSpec("toy", "1", task, Schema(features, "tensor"), CLASSES[task])
    return Subject(spec=spec, background=background, players=players, **given)
