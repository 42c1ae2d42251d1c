"""ONNX graphs read for explaining: what encodes the columns, and what the head computes."""
