# The server alone: the champion's bundle and what answers with it. No pickle, no pandas, no compiler, no root.
# A digest pins the base: docker build --build-arg PYTHON_IMAGE=docker.io/library/python@sha256:... .
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
# Where packages come from is the builder's matter; unset, pip's own defaults hold, and nothing of it reaches the image.
ARG PIP_INDEX_URL
ARG PIP_CERT
ARG PIP_DEFAULT_TIMEOUT
WORKDIR /build
COPY ops/requirements.txt ops/requirements.txt
# The lock is whole, so pip resolves nothing; wheels only, so no package's code runs while it is installed.
RUN python3 -m venv /opt/lifecycle \
 && /opt/lifecycle/bin/pip install --quiet --no-cache-dir --no-deps --only-binary :all: --require-hashes \
    -r ops/requirements.txt
# Our own wheel, by the hatchling of the project's lock.
COPY requirements.txt pyproject.toml README.md LICENSE ./
COPY src src
RUN awk '/^[a-z]/ {wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/} wanted' requirements.txt > build.txt \
 && python3 -m venv /opt/hatch \
 && /opt/hatch/bin/pip install --quiet --no-cache-dir --only-binary :all: --require-hashes -r build.txt \
 && /opt/hatch/bin/pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir wheels . \
 && /opt/lifecycle/bin/pip install --quiet --no-cache-dir --no-deps --no-index wheels/*.whl \
 && /opt/lifecycle/bin/pip uninstall --quiet --yes pip setuptools
# What is never imported: tests, headers, types. Byte code stays: nothing can write it later, and without it a start takes thrice.
RUN find /opt/lifecycle -depth -type d \( -name tests -o -name include \) -path '*/site-packages/*' -exec rm -r {} + \
 && find /opt/lifecycle -type f \( -name '*.pyi' -o -name '*.a' -o -name '*.pxd' \) -delete
COPY models /srv/lifecycle/models
# On a disk that is read-only, reports/live is where compose.yaml and Kubernetes mount what `lifecycle monitor` found, and
# data/online where compose.yaml mounts what `lifecycle materialize` wrote.
RUN install -d /srv/lifecycle/reports/live /srv/lifecycle/data/online && chmod -R a+rX /srv/lifecycle && install -d -m 0700 /var/lib/lifecycle/predictions

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="lifecycle" \
      org.opencontainers.image.description="Answers requests with the champion, over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/lifecycle /opt/lifecycle
COPY --from=build /srv/lifecycle /srv/lifecycle
# The log is the one thing that is kept; its folder belongs to the user who writes it, and a new volume takes that over.
COPY --from=build --chown=10001:10001 /var/lib/lifecycle /var/lib/lifecycle
ENV PATH=/opt/lifecycle/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    LIFECYCLE_ROOT=/srv/lifecycle \
    LIFECYCLE_SERVE_LOG_FOLDER=/var/lib/lifecycle/predictions
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
VOLUME /var/lib/lifecycle/predictions
EXPOSE 8000
STOPSIGNAL SIGTERM
# By python, as a slim image has no curl; without the environment's proxies, as it asks itself.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
  CMD ["python", "-I", "-c", "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8000/health', timeout=2)"]
# All addresses of the container's own network: 127.0.0.1 would be heard by nobody outside. Which of them the host shows is
# for `--publish 127.0.0.1:8000:8000` to say.
CMD ["lifecycle", "serve", "--host", "0.0.0.0", "--port", "8000"]
