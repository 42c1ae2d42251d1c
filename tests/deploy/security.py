"""Pod Security Standards: the controls of the profiles `baseline` and `restricted`, for whatever makes pods.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/. Windows is left out but for host
processes: our images are Linux's. ``hardening_problems`` asks for more than the standards do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.deploy.manifests import Document, Documents, Pod, called, containers, leaves, of_kind, pods, value

CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
"""That baseline lets a container add."""
SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
})  # fmt: skip
SELINUX = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"
})  # fmt: skip
PROFILES = frozenset({"RuntimeDefault", "Localhost"})
HANDLERS = (
    "livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop"
)  # fmt: skip
SECRETIVE = ("PASSWORD", "TOKEN", "SECRET", "STORE_URL", "REDACT_KEY")
"""Endings of variables that somebody could misuse."""
WITH_PASSWORD = re.compile(r"://[^\s/:@]*:[^\s/@]+@")
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


def baseline_problems(documents: Documents) -> list[str]:
    """Known ways to more rights than a pod should have."""
    problems: list[str] = []
    for pod in pods(documents):
        problems += _baseline_pod(pod)
        problems += _contexts(pod.where, pod.spec)
        for where, container in containers(pod):
            problems += _contexts(where, container)
            problems += _baseline_container(where, container)
    return problems


def restricted_problems(documents: Documents) -> list[str]:
    """What best practice asks of every pod."""
    problems: list[str] = []
    for pod in pods(documents):
        for volume in pod.spec.get("volumes", ()):
            kinds = set(volume) - {"name"}
            problems += [
                f"{pod.where}.volumes[{volume['name']}]: {kind} is no volume of the restricted profile"
                for kind in kinds - VOLUMES
            ]
        above = pod.spec.get("securityContext", {})
        if above.get("runAsUser") == 0:
            problems.append(f"{pod.where}.securityContext.runAsUser: is root")
        for where, container in containers(pod):
            problems += _restricted_container(f"{where}.securityContext", container, above)
    return problems


def hardening_problems(documents: Documents) -> list[str]:
    """What these manifests promise beyond the profiles."""
    problems = [
        f"{called(each)} automountServiceAccountToken: is not false"
        for each in of_kind(documents, "ServiceAccount")
        if each.get("automountServiceAccountToken") is not False
    ]
    problems += [
        f"{called(each)} metadata.labels: {mode} is not restricted"
        for each in of_kind(documents, "Namespace")
        for mode in ("enforce", "warn", "audit")
        if each["metadata"].get("labels", {}).get(f"pod-security.kubernetes.io/{mode}") != "restricted"
    ]
    for pod in pods(documents):
        problems += [
            f"{pod.where}.{key}: is not false"
            for key in ("automountServiceAccountToken", "enableServiceLinks")
            if pod.spec.get(key) is not False
        ]
        if pod.owner["kind"] == "Deployment" and "serviceAccountName" not in pod.spec:
            problems.append(f"{pod.where}.serviceAccountName: shares the namespace's")
        above = pod.spec.get("securityContext", {})
        problems += [
            f"{pod.where}.securityContext.{key}: names nobody"
            for key in ("runAsUser", "runAsGroup", "fsGroup")
            if not above.get(key)
        ]
        problems += [
            f"{where}.securityContext.readOnlyRootFilesystem: is not true"
            for where, container in containers(pod)
            if value(container, "securityContext.readOnlyRootFilesystem") is not True
        ]
    return problems


def secret_problems(documents: Documents) -> list[str]:
    """What only a Secret of the user's may hold."""
    problems = [f"{called(each)}: a Secret is in the manifests" for each in of_kind(documents, "Secret")]
    problems += [
        f"{called(each)} {path}: has a password in it"
        for each in documents
        for path in leaves(each)
        if isinstance(text := value(each, path), str) and WITH_PASSWORD.search(text)
    ]
    problems += [
        f"{where}.env[{variable['name']}]: is told to everybody"
        for pod in pods(documents)
        for where, container in containers(pod)
        for variable in container.get("env", ())
        if variable["name"].endswith(SECRETIVE) and "value" in variable
    ]
    return problems


def _baseline_pod(pod: Pod) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            yield f"{pod.where}.{key}: shares the node's"
    for volume in pod.spec.get("volumes", ()):
        if "hostPath" in volume:
            yield f"{pod.where}.volumes[{volume['name']}]: hostPath is the node's own"
    for each in value(pod.spec, "securityContext.sysctls", ()):
        if each["name"] not in SYSCTLS:
            yield f"{pod.where}.securityContext.sysctls[{each['name']}]: is not a safe one"
    for key, profile in pod.annotations.items():
        if key.startswith(APPARMOR) and not (
            profile == "runtime/default" or profile.startswith("localhost/")
        ):
            yield f"{pod.where}: annotation {key} is {profile}"


def _contexts(where: str, inside: Document) -> Iterator[str]:
    """Controls that a pod and a container are both held to."""
    where, context = f"{where}.securityContext", inside.get("securityContext", {})
    if value(context, "windowsOptions.hostProcess"):
        yield f"{where}.windowsOptions.hostProcess: is a process of the node"
    if (profile := value(context, "appArmorProfile.type", "RuntimeDefault")) not in PROFILES:
        yield f"{where}.appArmorProfile.type: is {profile}"
    if (profile := value(context, "seccompProfile.type", "RuntimeDefault")) not in PROFILES:
        yield f"{where}.seccompProfile.type: is {profile}"
    options = context.get("seLinuxOptions", {})
    if options.get("type", "") not in SELINUX:
        yield f"{where}.seLinuxOptions.type: is {options['type']}"
    for key in ("user", "role"):
        if options.get(key):
            yield f"{where}.seLinuxOptions.{key}: is set"


def _baseline_container(where: str, container: Document) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("privileged"):
        yield f"{where}.securityContext.privileged: is true"
    if context.get("procMount", "Default") != "Default":
        yield f"{where}.securityContext.procMount: is {context['procMount']}"
    for name in value(context, "capabilities.add", ()):
        if name not in CAPABILITIES:
            yield f"{where}.securityContext.capabilities.add: {name} is too much"
    for port in container.get("ports", ()):
        if port.get("hostPort"):
            yield f"{where}.ports: {port['hostPort']} is a port of the node"
    for handler in HANDLERS:
        for action in ("httpGet", "tcpSocket"):
            if value(container, f"{handler}.{action}.host"):
                yield f"{where}.{handler}.{action}.host: asks somebody else"


def _restricted_container(where: str, container: Document, above: Document) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{where}.allowPrivilegeEscalation: is not false"
    if _inherited("runAsNonRoot", context, above) is not True:
        yield f"{where}.runAsNonRoot: is not true"
    if context.get("runAsUser") == 0:
        yield f"{where}.runAsUser: is root"
    if value(_inherited("seccompProfile", context, above), "type") not in PROFILES:
        yield f"{where}.seccompProfile.type: is not set"
    capabilities = context.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()):
        yield f"{where}.capabilities.drop: not ALL"
    for name in capabilities.get("add", ()):
        if name != "NET_BIND_SERVICE":
            yield f"{where}.capabilities.add: {name} is more than NET_BIND_SERVICE"


def _inherited(key: str, context: Document, above: Document) -> Any:
    return context.get(key, above.get(key))
