"""The only importers of onnxruntime, prometheus_client, the model store and sockets."""
