"""Whether probes give a pod its time and take it out in time.

Kubernetes' defaults are a period of 10 s, a patience of 1 s for an answer, and 3 failures.
"""

from __future__ import annotations

from tests.deploy.manifests import Document, Documents, containers, pods, value

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
ACTIONS = ("httpGet", "tcpSocket", "grpc", "exec")
STARTING = (60, 600)
"""Seconds that a start may take: bundles give their recorded answers; a database may recover."""
AWAY_SECONDS = 20
"""In which a pod that does not answer gets no more requests."""
RESTARTED_SECONDS = 60
"""For which a container may be silent: a restart under load makes the load worse."""
ANSWERING_SECONDS = 2
"""That a busy container may take for an answer."""


def patience(probe: Document) -> int:
    """Seconds until a probe that fails has its effect."""
    return int(probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3))


def probe_problems(documents: Documents) -> list[str]:
    """Of every container that has probes."""
    problems: list[str] = []
    for pod in pods(documents):
        for where, container in containers(pod):
            starting, ready, living = (value(container, probe) for probe in PROBES)
            if starting and not STARTING[0] <= patience(starting) <= STARTING[1]:
                problems.append(f"{where}.startupProbe: a start may take {patience(starting)} s")
            if ready and patience(ready) > AWAY_SECONDS:
                problems.append(f"{where}.readinessProbe: callers are sent to it for {patience(ready)} s")
            if living and patience(living) < RESTARTED_SECONDS:
                problems.append(
                    f"{where}.livenessProbe: a busy container is restarted in {patience(living)} s"
                )
            if not ready and container.get("name") != "shadow" and pod.owner["kind"] != "Job":
                problems.append(f"{where}.readinessProbe: nobody asks whether it answers")
            problems += [
                f"{where}.{name}: asks nothing"
                for name, probe in zip(PROBES, (starting, ready, living), strict=True)
                if probe and not any(probe.get(action) for action in ACTIONS)
            ]
            problems += [
                f"{where}.{name}: waits for {probe.get('timeoutSeconds', 1)} s, and a busy one takes longer"
                for name, probe in (("readinessProbe", ready), ("livenessProbe", living))
                if probe and probe.get("timeoutSeconds", 1) < ANSWERING_SECONDS
            ]
    return problems
