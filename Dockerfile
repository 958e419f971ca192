# The gateway as an image: how to build and run it stands in deploy/README.md.
FROM python:3.13.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY deploy/constraints.txt deploy/constraints-build.txt ./
# Wheels only: nothing is compiled here, and no setup script of others runs.
RUN python -m venv --without-pip /opt/keepa-gateway && \
    pip install --quiet --require-hashes --only-binary :all: -r constraints-build.txt && \
    pip --python /opt/keepa-gateway/bin/python install --quiet \
      --require-hashes --only-binary :all: -r constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
COPY client ./client
RUN pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir wheels . && \
    pip --python /opt/keepa-gateway/bin/python install --quiet --no-deps --no-index wheels/*.whl

FROM python:3.13.14-slim-bookworm
LABEL org.opencontainers.image.title="keepa-gateway" \
      org.opencontainers.image.description="One Keepa token budget for many services" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/keepa-gateway /opt/keepa-gateway
# Nothing is written, so that the root file system may be read-only.
ENV PATH=/opt/keepa-gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    HOST=0.0.0.0 \
    PORT=8080
WORKDIR /
# By number, so that a cluster can see that it is not root.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Alive, not ready: while Redis is away a restart would not help.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
  CMD ["python", "-IS", "-c", "import http.client, os, sys; gateway = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8080), timeout=3); gateway.request('GET', '/healthz'); sys.exit(gateway.getresponse().status != 200)"]
# The gateway itself is process 1: SIGTERM reaches it, and it drains.
ENTRYPOINT ["python", "-m", "gateway"]
CMD ["serve"]
