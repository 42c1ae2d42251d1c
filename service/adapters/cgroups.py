"""How much memory the kernel grants this container, read without importing anything heavy."""

from __future__ import annotations

from pathlib import Path

UNLIMITED = 1 << 60
"""Version 1 has no word for it and shows the largest multiple of a page instead."""


def memory_limit(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes that this process and its neighbours in the control group may use; None where nothing says.

    Both versions are read, up to the root, since any group above may grant less. A container that sees the
    tree from its own group down, but its path as the host does, finds its own limit at the root.

    Args:
        cgroups: where control groups are mounted.
        own: the kernel's list of this process's groups.
    """
    found = []
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found += _limits(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits(cgroups / "memory", path, "memory.limit_in_bytes")
    return min(found, default=None)


def _limits(root: Path, path: str, name: str) -> list[int]:
    """Those of a group and of all groups above it."""
    group = root / path.lstrip("/")
    texts = [_text(each / name).strip() for each in (group, *group.parents) if each.is_relative_to(root)]
    return [int(text) for text in texts if text.isdigit() and int(text) < UNLIMITED]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # another version, or no such group from here
        return ""
