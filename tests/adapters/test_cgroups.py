"""The memory that a container may use is found for both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.adapters.cgroups import memory_limit

NONE = 9223372036854771712
"""What the first version shows where there is no limit."""


def limit(folder: Path, own: str, **limits: str) -> int | None:
    """That of a process in the groups ``own``; files are named by their path with ``__`` for slashes."""
    for name, text in limits.items():
        path = folder / "fs" / name.replace("__", "/").replace("_memory_max", "memory.max")
        path = path.with_name(path.name.replace("limit", "memory.limit_in_bytes"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (folder / "own").write_text(own)
    return memory_limit(folder / "fs", folder / "own")


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/pod/shadow\n", {"pod__shadow___memory_max": "1000", "pod___memory_max": "max"}, 1000),
        ("0::/pod/shadow\n", {"pod__shadow___memory_max": "1000", "pod___memory_max": "500"}, 500),
        ("0::/\n", {"_memory_max": "700"}, 700),
        ("0::/../host/path\n", {"_memory_max": "700"}, 700),
        ("5:cpu:/a\n4:memory:/pod\n", {"memory__pod__limit": "800", "memory__limit": str(NONE)}, 800),
        ("4:memory:/as/the/host/sees/it\n", {"memory__limit": "900"}, 900),
        ("4:memory:/pod\n", {"memory__pod__limit": str(NONE)}, None),
        ("", {}, None),
    ],
)
def test_the_lowest_limit_up_to_the_root_is_found(
    tmp_path: Path, own: str, limits: dict[str, str], expected: int | None
) -> None:
    assert limit(tmp_path, own, **limits) == expected
