"""``python -m service.shadow``: the shadow as a process of its own, without BentoML.

Whatever supervises it may start and stop it in any order with the edge. ``--keep`` is for a container of its
own: a small process stays, and starts the shadow again whenever it ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT; then works off what is queued.

    Returns:
        The exit status: 0 once stopped, 75 where another shadow is in its place, 78 where the configuration
        does not allow it to run.
    """
    parser = argparse.ArgumentParser(prog="python -m service.shadow", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="start it again whenever it ends or hangs")
    parser.add_argument("--silence", type=float, default=60.0, help="seconds until --keep takes it to hang")
    parser.add_argument(
        "--memory", type=int, help="bytes that --keep stays below; by default the container's"
    )
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    parser.add_argument("--beat", type=int, help="descriptor to write a byte to every second")
    options = parser.parse_args(arguments)
    if options.keep:  # before anything heavy is imported: this process stays in memory
        from service.wiring.sidecar import keep_shadow

        return keep_shadow(options.silence, options.memory)
    return _run(options.beat, with_parent=options.with_parent)


def _run(beats: int | None, *, with_parent: bool) -> int:
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread: they all inherit it
    from service.errors import ConfigurationError
    from service.settings import read_environment, read_settings
    from service.wiring.logs import log_to_stderr
    from service.wiring.priority import yield_the_cpu
    from service.wiring.sidecar import CONFIGURATION, OCCUPIED

    try:
        environment = read_environment()
        settings = read_settings(environment.config)
        if not settings.mirrors:
            raise ConfigurationError("nothing to do: there are no candidates, and feedback and drift are off")
        if settings.shadow.supervised and (beats is not None or not with_parent):
            raise ConfigurationError(
                "shadow.supervised: the service starts its shadow itself; false, for both, lets them be apart"
            )
    except ConfigurationError as error:
        sys.stderr.write(f"understudy: {error}\n")
        return CONFIGURATION
    if settings.shadow.idle_priority:
        yield_the_cpu()  # before the heavy imports: a shadow that crashes in a loop imports in a loop
    log_to_stderr(settings.log)  # what the imports warn of is to look the same
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a second one costs small products more than it gives
    from service.wiring.shared import take_turn

    turn = take_turn(settings, environment)  # before the imports that take seconds
    if turn is None:
        sys.stderr.write("understudy: another shadow of this configuration stays at work; this one ends\n")
        return OCCUPIED
    from service.wiring.beating import beat
    from service.wiring.shadow import ShadowBuilder, end_with_parent
    from service.wiring.stopping import await_edges

    if with_parent:
        end_with_parent()
    if signals & signal.sigpending():  # there is nothing to work off, and models may take long to load
        return 0
    process = ShadowBuilder(settings, environment).build()
    process.start()
    if beats is not None:
        beat(process.stuck, beats)
    if signal.sigwait(signals) == signal.SIGTERM:
        await_edges(settings, environment)
    process.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
