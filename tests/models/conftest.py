"""Tiny models of every layout and task, with hand-made graphs: packaged in milliseconds, nothing trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.packaging import package
from tests.models.graphs import KINDS, Tiny, tiny


@pytest.fixture
def make() -> Callable[[str], Tiny]:
    """A tiny model that is not packaged yet, by kind."""
    return tiny


@pytest.fixture(params=KINDS)
def any_tiny(request: pytest.FixtureRequest) -> Tiny:
    """Each kind of tiny model in turn."""
    return tiny(request.param)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A packaged tiny model with a category and a missing value; its own copy for each test."""
    small = tiny("tensor")
    return package(small.graph, small.manifest, small.material, tmp_path / "bundle")
