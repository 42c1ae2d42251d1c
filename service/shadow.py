"""``python -m service.shadow``: the shadow as a process of its own, without BentoML.

Whatever supervises it may start and stop it in any order with the edge. ``--with-parent`` ends it together
with the process that holds its standard input open.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from service.errors import ConfigurationError
from service.settings import read_environment, read_settings
from service.wiring.logs import log_to_stderr
from service.wiring.priority import yield_the_cpu


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; then works off what is queued."""
    parser = argparse.ArgumentParser(prog="python -m service.shadow", description=__doc__)
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    options = parser.parse_args(arguments)
    try:
        environment = read_environment()
        settings = read_settings(environment.config)
    except ConfigurationError as error:
        sys.exit(f"understudy: {error}")
    if not settings.mirrors:
        sys.exit("understudy: nothing to do: there are no candidates, and feedback and drift are off")
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread: they all inherit it
    if settings.shadow.idle_priority:
        yield_the_cpu()  # before the heavy imports: a shadow that crashes in a loop imports in a loop
    if settings.log.format == "json":  # what the imports warn of is to be JSON too
        log_to_stderr(settings.log)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a second one costs small products more than it gives
    from service.wiring.shadow import ShadowBuilder, end_with_parent

    if options.with_parent:
        end_with_parent()
    process = ShadowBuilder(settings, environment).build()
    process.start()
    signal.sigwait(signals)
    process.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
