"""The only importers of onnxruntime, prometheus_client, the model store and sockets."""

import os

# ONNX Runtime, since 1.29, tells its maker about each model that is loaded, and keeps an id of the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
