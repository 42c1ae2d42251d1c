"""What a rule of differentiation is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from onnx import NodeProto

from models.gradients.forward import attributes
from models.gradients.tape import Tape
from service.domain.explainers.game import Unsuitable


@dataclass(frozen=True, eq=False)
class Step:
    """One node on the way back."""

    tape: Tape
    node: NodeProto
    output: str
    """The forward tensor whose adjoint is known."""
    g: str
    """Its adjoint: the margin's derivative by it."""

    @property
    def x(self) -> str:
        return str(self.node.input[0])

    @property
    def y(self) -> str:
        return str(self.node.output[0])

    @cached_property
    def settings(self) -> dict[str, Any]:
        return attributes(self.node)

    def optional(self, index: int) -> str | None:
        """An input that may be left out."""
        return (self.node.input[index] or None) if index < len(self.node.input) else None

    def moves(self, name: str) -> bool:
        return name in self.tape.forward.moving

    def only_first_moves(self) -> None:
        """Refuses weights that are computed from the model's input."""
        for name in self.node.input[1:]:
            if self.moves(name):
                raise Unsuitable(f"{self.node.op_type} with a parameter that depends on the input")


Adjoints: TypeAlias = list[tuple[str, str]]
"""Forward tensor and what this node adds to its adjoint."""

Rule: TypeAlias = Callable[[Step], Adjoints]
