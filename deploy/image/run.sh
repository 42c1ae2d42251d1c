#!/usr/bin/env bash
# Runs a command in a mounted image as Kubernetes would: its user, a read-only root, no capabilities, process 1.
#
#   deploy/image/run.sh ROOT HOME TMP NAME=VALUE... COMMAND...
#
# ROOT is what `buildah mount` says. All that may be written are the folders HOME, as /var/lib/understudy, and TMP, as
# /tmp; two runs that share HOME are two containers of one pod. The network is this machine's. Needs root.
set -euo pipefail

root=$1 home=$2 tmp=$3
shift 3
mkdir -p "$home" "$tmp"
chown 10001:10001 "$home"
chmod 1777 "$tmp"

export root home tmp
# shellcheck disable=SC2016 # the inner shell knows them
exec unshare --mount --pid --fork --propagation private bash -euc '
    touch "$root/etc/hosts" "$root/etc/resolv.conf"
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    mount -t tmpfs -o nosuid,mode=755 dev "$root/dev"
    mkdir -m 1777 "$root/dev/shm"
    for each in null zero full random urandom; do
        touch "$root/dev/$each"
        mount --bind "/dev/$each" "$root/dev/$each"
    done
    for each in hosts resolv.conf; do
        mount --bind "/etc/$each" "$root/etc/$each"
    done
    mount --bind "$tmp" "$root/tmp"
    mount --bind "$home" "$root/var/lib/understudy"
    exec chroot "$root" setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs \
        --bounding-set=-all --inh-caps=-all env -i -C /opt/app "$@"
' bash "$@"
