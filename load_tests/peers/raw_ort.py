"""ONNX Runtime in a loop and nothing else: the limit that no server can pass.

``python -m load_tests.peers.raw_ort BUNDLE ROWS SECONDS CORE`` prints JSON with rows per second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import yaml


def rows_per_second(folder: Path, rows: int, seconds: float) -> float:
    """``InferenceSession.run`` on the same batch of reference rows, over and over, on one thread."""
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text(encoding="utf-8"))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    background = np.load(folder / "background.npz")["rows"]
    batch = np.resize(background, (rows, background.shape[1])).astype(np.float32)
    outputs, feed = [manifest["output"]["name"]], {manifest["input"]["name"]: batch}
    for _ in range(20):
        session.run(outputs, feed)
    runs, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        session.run(outputs, feed)
        runs += 1
    return runs * rows / elapsed


if __name__ == "__main__":
    bundle, rows, seconds, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    print(json.dumps({"rows_per_second": rows_per_second(Path(bundle), int(rows), float(seconds))}))
