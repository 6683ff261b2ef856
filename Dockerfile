# The image: Python, the locked dependencies, Reducto. Works with docker, podman and buildah; needs no BuildKit.
#
#   BASE        a Debian-like image with Python 3.11 or later (for both stages)
#   VERSION, COMMIT, SOURCE_DATE_EPOCH   what `make dist` passes: labels, and times inside the image
#   PIP_*       passed on to pip for those who build behind a mirror; not in the final image
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && (python3 -m venv --help >/dev/null && python3 -c "import ensurepip" || apt-get install --yes python3-venv) \
 && rm -rf /var/lib/apt/lists/*
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
WORKDIR /source
COPY requirements.lock .
RUN python3 -m venv /opt/reducto \
 && /opt/reducto/bin/pip install --no-cache-dir --no-compile --require-hashes --requirement requirements.lock
COPY . .
ARG SOURCE_DATE_EPOCH=0
# Byte code without times, files of one time: the same source gives the same layer.
RUN CFLAGS=-g0 /opt/reducto/bin/pip install --no-cache-dir --no-compile --no-deps --no-build-isolation . \
 && /opt/reducto/bin/pip uninstall --yes --quiet pip setuptools \
 && find /opt/reducto -name direct_url.json -delete \
 && find /opt/reducto -name __pycache__ -prune -exec rm -rf {} + \
 && PYTHONHASHSEED=0 python3 -m compileall -q --invalidation-mode unchecked-hash /opt/reducto/lib \
 && find /opt/reducto -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM ${BASE}
ARG VERSION=unknown
ARG COMMIT=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Reducto" \
      org.opencontainers.image.description="Container-layer deduplication sidecar for OCI registries" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /opt/reducto /opt/reducto
# HOME is the pod's /tmp: whatever the configuration does not place elsewhere goes there.
ENV PATH=/opt/reducto/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 5000 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["reducto"]
CMD ["serve"]
