# The service and what it imports; no installer, no compiler, no training framework, nobody's privileges.
#
#   docker build -t understudy .                             the service; bundles come by volume or FROM understudy
#   docker build -t understudy:gpu --build-arg VARIANT=gpu .   with CUDA and cuDNN; the machine brings its driver
#   docker build -t understudy:demo --target demo .          with the demo's bundles inside
#
# Behind mirrors: --secret id=pip,src=pip.conf, and uv (uv.toml), certificates, apt (sources.list) in the same way.
# Without a registry: deploy/image. A release names its base by digest: --build-arg PYTHON=python@sha256:...

ARG PYTHON=python:3.11-slim-bookworm
ARG VARIANT=cpu

# The installer has an environment of its own, which stays behind. Compiled here, since nobody may write later.
FROM ${PYTHON} AS packages
WORKDIR /src
COPY requirements-bootstrap.lock requirements-serving.lock ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    python -m venv /opt/bootstrap \
    && /opt/bootstrap/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r requirements-bootstrap.lock \
    && python -m venv --without-pip /opt/understudy \
    && /opt/bootstrap/bin/uv pip install --no-cache --system-certs --compile-bytecode \
        --python /opt/understudy/bin/python --require-hashes -r requirements-serving.lock

# 271 MB that cannot be loaded without CUDA's libraries: ONNX Runtime takes the CPU, as it does without a GPU.
FROM packages AS packages-cpu
RUN rm /opt/understudy/lib/python3.11/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so

FROM packages AS packages-gpu
COPY requirements-gpu.lock ./
RUN --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/bootstrap/bin/uv pip install --no-cache --system-certs --compile-bytecode \
        --python /opt/understudy/bin/python --require-hashes -r requirements-gpu.lock

# hadolint ignore=DL3006
FROM packages-${VARIANT} AS installed
# Tests of packages; no package imports its own.
RUN find /opt/understudy/lib -type d \( -name tests -o -path '*/onnx/backend/test' \) -prune -exec rm -rf {} +

# Trains the demo's models, and is thrown away.
FROM packages AS trained
# hadolint ignore=DL3008
RUN --mount=type=secret,id=apt,target=/etc/apt/sources.list \
    apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY requirements-training.lock ./
RUN --mount=type=secret,id=uv,target=/etc/uv/uv.toml \
    --mount=type=secret,id=certificates,target=/etc/ssl/certs/ca-certificates.crt \
    /opt/bootstrap/bin/uv pip install --no-cache --system-certs \
        --python /opt/understudy/bin/python --require-hashes -r requirements-training.lock
COPY service service
COPY models models
ENV BENTOML_HOME=/var/lib/bentoml BENTOML_DO_NOT_TRACK=true
RUN /opt/understudy/bin/python -m models demo

FROM ${PYTHON} AS runtime
# One id by number, so that Kubernetes can see that it is not root.
RUN groupadd --gid 10001 understudy \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/understudy --create-home --skel /dev/null \
        --shell /usr/sbin/nologin understudy \
    && install -d -o 10001 -g 10001 /var/lib/bentoml /var/lib/bentoml/bentos /var/lib/bentoml/envs \
        /var/lib/bentoml/models /var/lib/bentoml/tmp
COPY --from=installed /opt/understudy /opt/understudy
WORKDIR /opt/app
COPY LICENSE ./
COPY models models
COPY service service
RUN /opt/understudy/bin/python -m compileall -q service models
# BENTOML_CONTAINERIZED stays unset: with it BentoML does not start a dead process again.
ENV PATH=/opt/understudy/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BENTOML_DO_NOT_TRACK=true \
    ORT_DISABLE_TELEMETRY=1 \
    BENTOML_HOME=/var/lib/bentoml \
    UNDERSTUDY_HOME=/var/lib/understudy
# After all that is large, so that a new revision shares it.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Understudy" \
      org.opencontainers.image.description="Serves a production ONNX model and runs candidates as shadows." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=40s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/readyz', timeout=2)"]
CMD ["bentoml", "serve", "service.app:Predictor", "--host", "0.0.0.0", "--port", "3000", \
     "--timeout-graceful-shutdown", "10"]

FROM runtime AS demo
COPY --from=trained --chown=10001:10001 /var/lib/bentoml /var/lib/bentoml

FROM runtime AS understudy
