# The service and what it imports; no compiler, no training framework, nobody's privileges.
#
#   docker build -t understudy .                        the service; bundles come from a volume
#   docker build -t understudy:demo --target demo .     with the demo's bundles inside

ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS packages
WORKDIR /src
COPY requirements-bootstrap.lock requirements-serving.lock ./
RUN python -m venv /opt/understudy \
    && /opt/understudy/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r requirements-bootstrap.lock \
    && /opt/understudy/bin/uv pip install --no-cache --python /opt/understudy/bin/python \
        --require-hashes -r requirements-serving.lock \
    && /opt/understudy/bin/python -m pip uninstall --yes uv

# Trains the demo's models, and is thrown away.
FROM packages AS trained
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
COPY requirements-training.lock ./
RUN /opt/understudy/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r requirements-training.lock
COPY service service
COPY models models
ENV BENTOML_HOME=/var/lib/bentoml BENTOML_DO_NOT_TRACK=true
RUN /opt/understudy/bin/python -m models demo

FROM ${PYTHON} AS runtime
LABEL org.opencontainers.image.title="Understudy" \
      org.opencontainers.image.description="Serves a production ONNX model and runs candidates as shadows." \
      org.opencontainers.image.licenses="Apache-2.0"
# One id by number, so that Kubernetes can see that it is not root.
RUN groupadd --gid 10001 understudy \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/understudy --create-home --shell /usr/sbin/nologin understudy \
    && install -d -o 10001 -g 10001 /var/lib/bentoml
COPY --from=packages /opt/understudy /opt/understudy
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
    BENTOML_HOME=/var/lib/bentoml \
    UNDERSTUDY_HOME=/var/lib/understudy
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
