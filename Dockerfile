FROM python:3.13-slim AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The environment has no pip of its own: nothing can be installed into the running service.
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock requirements-build.lock ./
RUN python -m pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes -r requirements.lock \
 && python -m pip install --no-cache-dir --require-hashes -r requirements-build.lock

COPY pyproject.toml README.md LICENSE ./
COPY monitor ./monitor
COPY rules/objectives.yaml ./rules/
RUN python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && python -m pip --python /opt/venv/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl


FROM python:3.13-slim
LABEL org.opencontainers.image.title="Booking Monitor" \
      org.opencontainers.image.description="Makes sure a paid booking reaches its provider, and wakes somebody when it does not." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0"

RUN groupadd --system --gid 10001 monitor \
 && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/booking-monitor --shell /usr/sbin/nologin monitor \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/booking-monitor
COPY --from=builder /opt/venv /opt/venv

# Only the volume is ever written to, also by whatever needs a temporary file: the root file system may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/var/lib/booking-monitor \
    BOOKING_MONITOR_HOST=0.0.0.0 \
    BOOKING_MONITOR_PORT=8080
# The default database, ./booking-monitor.db, lies here. It is not set by name, because a variable would win over
# BOOKING_MONITOR_DATABASE_URL_FILE.
WORKDIR /var/lib/booking-monitor
VOLUME /var/lib/booking-monitor
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['BOOKING_MONITOR_PORT']), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["booking-monitor"]
CMD ["serve"]
