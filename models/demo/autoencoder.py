"""An autoencoder: a network that learns to repeat its input through a bottleneck.

What it was not trained on it repeats badly, so its error tells how strange a row is.
"""

from __future__ import annotations

from typing import Any

from models.demo.recipe import from_sklearn
from service.domain.schema import FeatureBatch

LAYERS = (128, 24, 128)


def reconstruction(rows: FeatureBatch) -> Any:
    """Trains on rows [rows, width]; returns an ONNX model whose output ``error`` is float32 [rows].

    The error is the mean over the columns of the squared difference from the input.
    """
    from sklearn.neural_network import MLPRegressor

    model = MLPRegressor(hidden_layer_sizes=LAYERS, batch_size=64, max_iter=200, tol=0, random_state=1)
    model.set_params(early_stopping=True, n_iter_no_change=20)
    return measuring_error(from_sklearn(model.fit(rows, rows), rows.shape[1]))


def measuring_error(proto: Any) -> Any:
    """The graph of a repeater of rows, answering its mean squared error as ``error``, float32 [rows]."""
    from onnx import TensorProto, helper

    repeated, given = proto.graph.output[0].name, proto.graph.input[0].name
    proto.graph.node.extend(
        [
            helper.make_node("Shape", [given], ["shape"]),  # the converter flattens what it repeats
            helper.make_node("Reshape", [repeated, "shape"], ["alike"]),
            helper.make_node("Sub", ["alike", given], ["difference"]),
            helper.make_node("Mul", ["difference", "difference"], ["square"]),
            helper.make_node("ReduceMean", ["square"], ["error"], axes=[1], keepdims=0),
        ]
    )
    proto.graph.output.pop(0)
    proto.graph.output.append(helper.make_tensor_value_info("error", TensorProto.FLOAT, [None]))
    return proto
