"""Mistakes in what pods may do, one at least for each control of the Pod Security Standards."""

from __future__ import annotations

from collections.abc import Mapping

from tests.deploy.manifests import DROP
from tests.deploy.places import (
    APPARMOR,
    ARGO,
    CONFIG,
    CONTAINER,
    DEPLOYMENT,
    EDGE,
    POD,
    POSTGRESQL,
    ROLLOUT,
    SHADOW,
    SMALL,
    Fault,
)

FAULTS: Mapping[str, tuple[Fault, ...]] = {
    "baseline": (
        Fault(f"{POD}.securityContext.windowsOptions", {"hostProcess": True}, "is a process of the node"),
        Fault(f"{EDGE}.securityContext.windowsOptions", {"hostProcess": True}, "is a process of the node"),
        Fault(f"{POD}.hostNetwork", True, "hostNetwork: shares the node's"),
        Fault(f"{POD}.hostPID", True, "hostPID: shares the node's"),
        Fault(f"{POD}.hostIPC", True, "hostIPC: shares the node's"),
        Fault(f"{EDGE}.securityContext.privileged", True, "privileged: is true"),
        Fault(f"{SHADOW}.securityContext.capabilities.add", ["SYS_ADMIN"], "SYS_ADMIN is too much"),
        Fault(f"{POD}.volumes[home]", {"name": "home", "hostPath": {"path": "/"}}, "is the node's own"),
        Fault(f"{EDGE}.ports[http].hostPort", 80, "80 is a port of the node"),
        Fault(f"{EDGE}.livenessProbe.httpGet.host", "10.0.0.1", "asks somebody else"),
        Fault(f"{SHADOW}.lifecycle.postStart", {"tcpSocket": {"host": "a", "port": 1}}, "asks somebody else"),
        Fault(f"{POD}.securityContext.appArmorProfile", {"type": "Unconfined"}, "appArmorProfile.type"),
        Fault(f"{SHADOW}.securityContext.appArmorProfile", {"type": "Unconfined"}, "appArmorProfile.type"),
        Fault(f"{DEPLOYMENT} spec.template.metadata.annotations", APPARMOR, "is unconfined"),
        Fault(f"{EDGE}.securityContext.seLinuxOptions", {"type": "spc_t"}, "seLinuxOptions.type: is spc_t"),
        Fault(f"{POD}.securityContext.seLinuxOptions", {"user": "root"}, "seLinuxOptions.user: is set"),
        Fault(f"{POD}.securityContext.seLinuxOptions", {"role": "sysadm_r"}, "seLinuxOptions.role: is set"),
        Fault(f"{EDGE}.securityContext.procMount", "Unmasked", "procMount: is Unmasked"),
        Fault(f"{EDGE}.securityContext.seccompProfile", {"type": "Unconfined"}, "is Unconfined"),
        Fault(f"{POD}.securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}], "not a safe one"),
    ),
    "restricted": (
        Fault(f"{POD}.volumes[home]", {"name": "home", "nfs": {"server": "a", "path": "/"}}, "nfs is no"),
        Fault(f"{EDGE}.securityContext.allowPrivilegeEscalation", DROP, "allowPrivilegeEscalation: is not"),
        Fault(f"{POD}.securityContext.runAsNonRoot", DROP, "runAsNonRoot: is not true"),
        Fault(f"{SHADOW}.securityContext.runAsNonRoot", False, "runAsNonRoot: is not true"),
        Fault(f"{POD}.securityContext.runAsUser", 0, "runAsUser: is root"),
        Fault(f"{EDGE}.securityContext.runAsUser", 0, "runAsUser: is root"),
        Fault(f"{POD}.securityContext.seccompProfile", DROP, "seccompProfile.type: is not set"),
        Fault(f"{EDGE}.securityContext.capabilities.drop", ["NET_RAW"], "capabilities.drop: not ALL"),
        Fault(f"{SHADOW}.securityContext.capabilities.add", ["CHOWN"], "more than NET_BIND_SERVICE"),
        Fault(f"{POD}.initContainers", [CONTAINER], "initContainers[another].securityContext"),
        Fault(
            f"{POSTGRESQL}.template.spec.securityContext.runAsNonRoot",
            False,
            "runAsNonRoot: is not true",
            SMALL,
        ),
        Fault(
            f"{ROLLOUT}.template",
            {"spec": {"containers": [CONTAINER]}},
            "Rollout/understudy spec.template.spec.containers[another]",
            ARGO,
        ),
    ),
    "hardening": (
        Fault(
            "Namespace/understudy metadata.labels[pod-security.kubernetes.io/enforce]",
            "baseline",
            "enforce is not",
            SMALL,
        ),
        Fault("ServiceAccount/understudy automountServiceAccountToken", DROP, "automountServiceAccountToken"),
        Fault(f"{POD}.serviceAccountName", DROP, "shares the namespace's"),
        Fault(f"{EDGE}.securityContext.readOnlyRootFilesystem", DROP, "readOnlyRootFilesystem"),
        Fault(f"{POD}.automountServiceAccountToken", True, "automountServiceAccountToken: is not false"),
        Fault(f"{POD}.enableServiceLinks", DROP, "enableServiceLinks: is not false"),
        Fault(f"{POD}.securityContext.fsGroup", DROP, "fsGroup: names nobody"),
    ),
    "secrets": (
        Fault("ServiceAccount/understudy kind", "Secret", "a Secret is in the manifests"),
        Fault(CONFIG, "store: postgresql+psycopg://me:mine@host/db", "has a password in it"),
        Fault(f"{EDGE}.env[+]", {"name": "PGPASSWORD", "value": "a"}, "is told to everybody"),
    ),
}
"""By the name of the check."""
