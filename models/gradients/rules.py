"""The table of operators that can be differentiated.

A rule is given one output's adjoint and answers those of the inputs. A rule is only ever asked about a
tensor that moves with the model's input, and answers only about such.
"""

from __future__ import annotations

from collections.abc import Mapping

from models.gradients import arithmetic, elementwise, layout, spatial
from models.gradients.step import Adjoints, Rule, Step
from service.domain.explainers.game import Unsuitable

RULES: Mapping[str, Rule] = {
    **elementwise.RULES,
    **arithmetic.RULES,
    **layout.RULES,
    **spatial.RULES,
    **{f"ai.onnx.ml.{kind}": rule for kind, rule in arithmetic.ML_RULES.items()},
}
"""By operator name; those beyond the default set with their domain before it."""


def back_through(step: Step) -> Adjoints:
    """What one node adds to the adjoints of its inputs.

    Raises:
        Unsuitable: the operator is not in the table, or is used in a way its rule does not know.
    """
    domain = step.node.domain
    kind = step.node.op_type if domain in {"", "ai.onnx"} else f"{domain}.{step.node.op_type}"
    if kind not in RULES:
        raise Unsuitable(f"the graph has the operator {kind}, whose derivative is not known here")
    return RULES[kind](step)
