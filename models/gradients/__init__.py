"""Reverse-mode differentiation from ONNX to ONNX.

``build_gradient`` turns a served graph into one that computes the derivative of its margins by its input
(see ``service.adapters.gradients`` for what that graph takes and answers), and proves it by finite
differences. The backward pass is the chain rule over a table of known operators (Griewank & Walther,
"Evaluating Derivatives", 2008, chapter 3); a graph with an operator that is not in the table is refused by
that operator's name. Cost: the file is as large as the model's, a run two to four times as long.
"""

from __future__ import annotations

from models.gradients.build import gradient_graph
from models.gradients.verify import VerifyReport, build_gradient, verify

__all__ = ["VerifyReport", "build_gradient", "gradient_graph", "verify"]
