#!/usr/bin/env bash
# Builds the Dockerfile where there is no registry and no Docker: a base from Debian's packages, then buildah.
#
#   deploy/image/build.sh [cpu|gpu] [understudy|demo]
#
# Needs root, debootstrap and buildah. IMAGES is where everything lies (default /var/tmp/understudy-image). What this
# machine tells pip, uv and apt about mirrors is lent to the build as secrets: none of it stays in the image.
set -euo pipefail
cd "$(dirname "$0")/../.."

variant=${1:-cpu} target=${2:-understudy}
images=${IMAGES:-/var/tmp/understudy-image}
suite=bookworm base=localhost/python:3.11-slim-$suite
mkdir -p "$images"
secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
store() { buildah --root "$images/storage" --runroot "$images/run" --storage-driver "${DRIVER:-overlay}" "$@"; }

# --- what this machine knows ------------------------------------------------------------------------------
lend() { # NAME FILE...: the first of the files that is there
    local name=$1 file
    shift
    for file; do
        if [ -f "$file" ]; then
            cp "$file" "$secrets/$name"
            return
        fi
    done
}
lend pip "${PIP_CONFIG_FILE:-}" ~/.config/pip/pip.conf /etc/pip.conf
lend uv "${UV_CONFIG_FILE:-}" ~/.config/uv/uv.toml /etc/uv/uv.toml
lend certificates "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 -E '/debian/?$' || true)
mirror=${MIRROR:-${mirror:?"apt names no Debian mirror; set MIRROR"}}
echo "deb $mirror $suite main" >"$secrets/apt"

# --- the base, once ---------------------------------------------------------------------------------------
if ! store inspect --type image "$base" >/dev/null 2>&1; then
    echo "Base: Debian $suite with Python"
    began=$SECONDS
    rm -rf "$images/base"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$suite" "$images/base" "$mirror" \
        >"$images/debootstrap.log" || { tail "$images/debootstrap.log" >&2; exit 1; }
    ln -s /usr/bin/python3 "$images/base/usr/local/bin/python"
    # What the registry's slim image has not either, and what names the mirror.
    rm -rf "$images"/base/var/cache/apt/* "$images"/base/var/lib/apt/lists/* "$images"/base/usr/share/{doc,man,info}/* \
        "$images"/base/usr/share/locale/* "$images"/base/var/log/*.log "$images"/base/etc/apt/sources.list
    empty=$(store from scratch)
    store copy --quiet "$empty" "$images/base" / >/dev/null
    store config --cmd python --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$empty"
    store commit --quiet --rm "$empty" "$base" >/dev/null
    rm -rf "$images/base"
    echo "  $((SECONDS - began)) s"
fi

# --- the image --------------------------------------------------------------------------------------------
tag=understudy:$variant
[ "$target" = understudy ] || tag=$tag-$target
lent=()
for file in "$secrets"/*; do
    lent+=(--secret "id=$(basename "$file"),src=$file")
done
echo "Image: $tag"
began=$SECONDS
# Docker's format, because OCI's knows no HEALTHCHECK.
store build --isolation chroot --format docker --layers --pull-never "${lent[@]}" \
    --build-arg PYTHON="$base" --build-arg VARIANT="$variant" \
    --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
    --target "$target" --tag "localhost/$tag" .
echo "  $((SECONDS - began)) s"
