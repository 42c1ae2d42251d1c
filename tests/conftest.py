"""A private model store for the whole run, set before anything imports BentoML, which reads it once."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# The same examples in every run; how long one takes depends on who else uses the machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]
HOME = Path(tempfile.mkdtemp(prefix="understudy-tests-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ.update(BENTOML_HOME=str(HOME), BENTOML_DO_NOT_TRACK="true")

with warnings.catch_warnings():  # BentoML's own imports use what others have deprecated
    warnings.simplefilter("ignore")
    importlib.import_module("bentoml.models")

if TYPE_CHECKING:
    from models.bundle import Bundle


PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "postgres": "postgresql",
    "haproxy": "haproxy",
}
OFF_THE_PATH = ("/usr/lib/postgresql",)
"""Where Debian keeps programs of several versions, each in VERSION/bin."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose ``system(program, ...)`` is not installed; with REQUIRE_SYSTEM=1 it fails."""
    for mark in item.iter_markers("system"):
        for program in mark.args:
            if locate(program) is None:
                reason = f"needs {program}: apt-get install {PACKAGES[program]}"
                if os.environ.get("REQUIRE_SYSTEM") == "1":
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)


def locate(program: str) -> Path | None:
    """Where a program of the system's packages is; the newest, where there are several."""
    beside = sorted(path for root in OFF_THE_PATH for path in Path(root).glob(f"*/bin/{program}"))
    found = shutil.which(program) or (str(beside[-1]) if beside else None)
    return Path(found) if found else None


@pytest.fixture(scope="session")
def demo_home() -> Path:
    """A BENTOML_HOME with every demo bundle, built once per run the way a user builds them."""
    subprocess.run([sys.executable, "-m", "models", "demo", "--all"], cwd=ROOT, check=True, timeout=300)
    return HOME


@pytest.fixture(scope="session")
def demo_bundle(demo_home: Path) -> Callable[[str], Bundle]:
    """The demo bundle of a tag, for example ``demo_bundle("credit:gbm-1")``."""
    from models import store
    from models.bundle import open_bundle

    return lambda tag: open_bundle(store.locate(tag))
