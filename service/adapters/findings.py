"""Verdicts and evidence on their way from the shadow to whoever shows them.

Two files, because a verdict is new each second and small, while the evidence is large and changes every few
seconds at most, and at rest not at all. Who shows them reads the large one again only when it has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from service.adapters.process import read_status, write_status

Documents: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By tag ``verdict`` and ``evidence``, which may be None; see ``service.domain.evidence.document``."""

AS_OF = "as_of"


def verdicts_path(directory: Path) -> Path:
    """The small file."""
    return directory / "verdicts.json"


def evidence_path(directory: Path) -> Path:
    """The large one."""
    return directory / "evidence.json"


class FindingsWriter:
    """Belongs to one thread of the shadow.

    Args:
        directory: where both files are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written: Mapping[str, Any] | None = None

    def write(self, documents: Documents) -> None:
        """Replaces what is shown; raises ``OSError``."""
        evidence = {tag: found["evidence"] for tag, found in documents.items()}
        if self._written is None or not _same(evidence, self._written):
            write_status(evidence_path(self._directory), evidence)
            self._written = evidence
        verdicts = {
            tag: {"verdict": found["verdict"], AS_OF: (found["evidence"] or {}).get(AS_OF)}
            for tag, found in documents.items()
        }
        write_status(verdicts_path(self._directory), verdicts)


class FindingsReader:
    """What the shadow wrote last; used from several threads.

    Args:
        directory: where both files are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: tuple[object, Mapping[str, Any]] = (None, {})

    def read(self) -> dict[str, dict[str, Any]]:
        """``verdict`` and ``evidence`` by tag; empty where nothing was written yet."""
        verdicts: Mapping[str, Any] = read_status(verdicts_path(self._directory)) or {}
        evidence = self._evidence()
        return {
            tag: {"verdict": found["verdict"], "evidence": _as_of(evidence.get(tag), found[AS_OF])}
            for tag, found in verdicts.items()
        }

    def _evidence(self) -> Mapping[str, Any]:
        path = evidence_path(self._directory)
        try:
            stat = path.stat()
        except OSError:
            return {}
        seen, found = self._read
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen != version:
            found = read_status(path) or {}
            self._read = version, found  # one assignment: threads see both or neither
        return found


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether nothing but the time differs: what has not changed is the very same object."""
    return one.keys() == other.keys() and all(_unchanged(one[tag], other[tag]) for tag in one)


def _unchanged(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(one[name] is other[name] for name in one if name != AS_OF)


def _as_of(evidence: Mapping[str, Any] | None, moment: str | None) -> dict[str, Any] | None:
    return None if evidence is None else {**evidence, AS_OF: moment or evidence[AS_OF]}
