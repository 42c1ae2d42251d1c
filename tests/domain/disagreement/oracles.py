"""What each measure ought to show, computed from the rows themselves by other means: one oracle each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import entropy, kendalltau, spearmanr
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, mean_absolute_error

from service.domain.disagreement.gap import BOUNDS
from service.domain.disagreement.measure import Compared, Pair
from service.domain.schema import ModelSpec


def label(model: ModelSpec, row: Any) -> int:
    """The plain rule: the threshold for two classes, else the first of the largest."""
    values = [float(value) for value in row]
    if model.task == "binary":
        return int(values[1] >= float(np.float32(model.threshold)))
    return values.index(max(values))


def labels(pair: Pair, seen: Compared) -> tuple[list[int], list[int]]:
    before = [label(pair.production, row) for row in seen.before]
    return before, [label(pair.candidate, row) for row in seen.after]


def differences(seen: Compared) -> list[list[float]]:
    """Candidate minus production, of every row and output."""
    return [
        [float(b) - float(a) for a, b in zip(*rows, strict=True)]
        for rows in zip(seen.before, seen.after, strict=True)
    ]


def flips(pair: Pair, seen: Compared) -> dict[str, Any]:
    classes = pair.production.classes
    table = confusion_matrix(*labels(pair, seen), labels=range(len(classes)))
    np.fill_diagonal(table, 0)
    matrix = [
        {"from": before, "to": after, "rows": int(table[i, j])}
        for i, before in enumerate(classes)
        for j, after in enumerate(classes)
        if table[i, j]
    ]
    return {"flipped": int(table.sum()), "rate": table.sum() / len(seen), "matrix": matrix}


def gap(pair: Pair, seen: Compared) -> dict[str, Any]:
    apart = [max(abs(each) for each in row) / pair.spread for row in differences(seen)]
    signed = [row[-1] / pair.spread for row in differences(seen)]
    places = Counter(next(bound for bound in BOUNDS if value <= bound) for value in apart)
    return {
        "mean": np.mean(apart),
        "signed_mean": None if pair.production.task == "multiclass" else np.mean(signed),
        "std": np.std(apart),
        "histogram": [
            {"at_most": None if bound == math.inf else bound, "rows": places[bound]} for bound in BOUNDS
        ],
    }


def total_variation(pair: Pair, seen: Compared) -> dict[str, Any]:
    return {"mean": np.mean([sum(max(0.0, each) for each in row) for row in differences(seen)])}


def kl(pair: Pair, seen: Compared) -> dict[str, Any]:
    floored = [np.maximum(scores.astype(np.float64), 1e-7) for scores in (seen.before, seen.after)]
    forth, back = (entropy(p, q, base=2, axis=1) for p, q in (floored, floored[::-1]))
    return {"mean": forth.mean(), "reverse_mean": back.mean()}


def tolerance(pair: Pair, seen: Compared) -> dict[str, Any]:
    allowed = pair.tolerance
    same = [
        np.allclose(b, a, rtol=allowed.relative, atol=allowed.absolute)
        for a, b in zip(seen.before.astype(np.float64), seen.after.astype(np.float64), strict=True)
    ]
    return {"within": sum(same), "share": np.mean(same)}


def numeric_gap(pair: Pair, seen: Compared) -> dict[str, Any]:
    a, b = ([float(value) for value in scores[:, 0]] for scores in (seen.before, seen.after))
    relative = [abs(x - y) / max(abs(x), abs(y)) if x or y else 0.0 for x, y in zip(a, b, strict=True)]
    return {
        "mean_absolute": mean_absolute_error(a, b),
        "mean_relative": np.mean(relative),
        "root_mean_square": math.sqrt(np.mean(np.square(np.subtract(a, b)))),
    }


def rank(pair: Pair, seen: Compared) -> dict[str, Any]:
    def binned(scores: Any) -> list[int]:
        chosen = scores if pair.production.task == "multiclass" else scores[:, [-1]]
        return [sum(value >= cut for cut in pair.cuts) for value in chosen.ravel()]

    sides = binned(seen.before), binned(seen.after)
    return {"spearman": spearmanr(*sides).statistic, "kendall": kendalltau(*sides, variant="b").statistic}


def region_overlap(pair: Pair, seen: Compared) -> dict[str, Any]:
    if seen.before_region is None or seen.after_region is None:
        return {"rows": 0, "mean": None, "same": None}
    regions = list(zip(seen.before_region, seen.after_region, strict=True))
    return {
        "rows": len(seen),
        "mean": np.mean([_overlap(a, b) for a, b in regions]),
        "same": np.mean([_labels(a) == _labels(b) if a.dtype == bool else _same(a, b) for a, b in regions]),
    }


def beyond(pair: Pair, seen: Compared) -> dict[str, Any]:
    if seen.before_region is None or seen.after_region is None:
        return {"rows": 0, "beyond": 0, "share": None}
    found = [_apart(a, b) for a, b in zip(seen.before_region, seen.after_region, strict=True)]
    return {"rows": len(seen), "beyond": sum(found), "share": np.mean(found)}


def _labels(chosen: Any) -> set[int]:
    return {index for index, held in enumerate(chosen) if held}


def _same(a: Any, b: Any) -> bool:
    return bool((a[0] > a[1] and b[0] > b[1]) or (a[0] == b[0] and a[1] == b[1]))


def _apart(a: Any, b: Any) -> bool:
    if a.dtype == bool:
        return not _labels(a) & _labels(b) and bool(_labels(a) | _labels(b))
    return bool(max(a[0], b[0]) > min(a[1], b[1]) and (a[0] <= a[1] or b[0] <= b[1]))


def _overlap(a: Any, b: Any) -> float:
    if a.dtype == bool:
        either = _labels(a) | _labels(b)
        return len(_labels(a) & _labels(b)) / len(either) if either else 1.0
    if _same(a, b):
        return 1.0
    largest = float(np.finfo(np.float32).max)
    (low, high), (bottom, top) = (
        [min(max(float(end), -largest), largest) for end in each] for each in (a, b)
    )
    shared = max(0.0, min(high, top) - max(low, bottom))
    either = max(0.0, high - low) + max(0.0, top - bottom) - shared
    return shared / either if either else 0.0


def accuracy(pair: Pair, seen: Compared) -> dict[str, Any]:
    before, after = labels(pair, seen)
    right = Counter((a == y, b == y) for a, b, y in zip(before, after, seen.labels, strict=True))
    production, candidate = accuracy_score(seen.labels, before), accuracy_score(seen.labels, after)
    return {
        "production": production,
        "candidate": candidate,
        "difference": candidate - production,
        "both": right[True, True],
        "production_only": right[True, False],
        "candidate_only": right[False, True],
        "neither": right[False, False],
    }


def nearer(pair: Pair, seen: Compared) -> dict[str, Any]:
    found: Counter[str] = Counter()
    for a, b, y in zip(seen.before[:, 0], seen.after[:, 0], seen.labels, strict=True):
        first, second = abs(float(a) - float(y)), abs(float(b) - float(y))
        limit = pair.tolerance.absolute + pair.tolerance.relative * abs(float(a))
        equal = abs(first - second) <= limit
        found["equal" if equal else "production" if first < second else "candidate"] += 1
    names = ("production", "candidate", "equal")
    share = found["candidate"] / (found["candidate"] + found["production"])
    return {**{name: found[name] for name in names}, "candidate_share": share}


def loss(pair: Pair, seen: Compared) -> dict[str, Any]:
    def of(scores: Any) -> float:
        if pair.production.task == "binary":
            return float(brier_score_loss(seen.labels, scores[:, 1].astype(np.float64)))
        if pair.production.classes:
            hot = np.eye(len(pair.production.classes))[seen.labels]
            return float(((scores - hot) ** 2).sum() / 2 / len(scores))
        apart = [abs(float(x) - float(y)) for x, y in zip(scores[:, 0], seen.labels, strict=True)]
        return float(np.mean([min(1.0, each / (5 * pair.spread)) for each in apart]))

    production, candidate = of(seen.before), of(seen.after)
    return {"production": production, "candidate": candidate, "difference": candidate - production}


def cost(pair: Pair, seen: Compared) -> dict[str, Any]:
    costs = pair.costs
    production, candidate = (
        sum((confusion_matrix(seen.labels, side, labels=range(len(costs))) * costs).ravel()) / len(seen)
        for side in labels(pair, seen)
    )
    return {"production": production, "candidate": candidate, "difference": candidate - production}


def calibration(pair: Pair, seen: Compared) -> dict[str, Any]:
    def of(scores: Any, answered: list[int]) -> dict[str, Any]:
        stated = [float(row[code]) for row, code in zip(scores, answered, strict=True)]
        right = [code == truth for code, truth in zip(answered, seen.labels, strict=True)]
        table, error = [], 0.0
        for place in range(10):
            low, high = place / 10, (place + 1) / 10
            inside = [i for i, p in enumerate(stated) if low < p <= high or (p == 0 and place == 0)]
            if not inside:
                continue
            confidence = np.mean([stated[i] for i in inside])
            correct = np.mean([right[i] for i in inside])
            error += len(inside) / len(stated) * abs(confidence - correct)
            row = {"from": low, "to": high, "rows": len(inside), "confidence": confidence}
            table.append({**row, "accuracy": correct})
        return {"ece": error, "bins": table}

    before, after = labels(pair, seen)
    return {"production": of(seen.before, before), "candidate": of(seen.after, after)}


ORACLES: dict[str, Callable[[Pair, Compared], dict[str, Any]]] = {
    made.__name__: made
    for made in (
        flips, gap, total_variation, kl, tolerance, numeric_gap, rank, region_overlap, beyond,
        accuracy, nearer, loss, cost, calibration,
    )
}  # fmt: skip
