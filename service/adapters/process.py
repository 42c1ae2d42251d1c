"""What a process says to the operating system, and leaves behind for its siblings."""

from __future__ import annotations

import gc
import logging
import os
from pathlib import Path
from typing import Any

import orjson


def log_to_stderr() -> None:
    """Shows what this package logs; BentoML configures its own loggers only."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] [%(name)s] %(message)s"))
    logger = logging.getLogger("understudy")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    access = logging.getLogger("uvicorn.access")  # uvicorn builds a line per request unless nobody listens
    access.handlers = []
    access.propagate = False


def settle_memory() -> None:
    """Collects garbage and keeps what survived out of every later collection."""
    gc.collect()
    gc.freeze()


def write_status(path: Path, status: Any) -> None:
    """Replaces a JSON file at once, so that no reader sees half of it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_bytes(orjson.dumps(status))
    fresh.replace(path)


def read_status(path: Path) -> Any:
    """The JSON file, or None where there is none yet."""
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
