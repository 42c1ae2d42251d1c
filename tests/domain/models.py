"""Specifications of small models that the tests of the domain and of the paths share."""

from __future__ import annotations

from typing import Any

from service.domain.schema import Feature, Layout, ModelSpec, Schema, Task

HOMES = ("owner", "rent", "parents")
FEATURES = (
    Feature("age", "float"),
    Feature("home", "string", HOMES, missing=True),
    Feature("income", "float", missing=True),
)


def spec(
    version: str = "prod",
    *features: Feature,
    task: Task = "binary",
    layout: Layout = "tensor",
    shape: tuple[int, ...] = (),
    **other: Any,
) -> ModelSpec:
    """A model named m; ``features`` default to age, home and income."""
    schema = Schema(() if layout == "image" else features or FEATURES, layout, shape)
    classes: dict[Task, tuple[str, ...]] = {
        "binary": ("bad", "good"),
        "multiclass": ("a", "b", "c"),
        "regression": (),
    }
    return ModelSpec("m", version, task, schema, **{"classes": classes[task], **other})
