# The gateway: the gateway extra alone, so no torch and no transformers. From the repository's root:
#   docker build -f deploy/gateway.Dockerfile -t layercut-gateway .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN python -m venv /opt/layercut
WORKDIR /src
COPY . .
# Every file by its hash, and our own package built with the setuptools of that list.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip="/opt/layercut/bin/pip --disable-pip-version-check" \
    && $pip install --no-deps --require-hashes -r deploy/requirements-gateway.txt \
    && $pip install --no-deps --no-build-isolation . \
    && $pip check \
    && $pip uninstall --yes --quiet setuptools pip # nothing is installed into the image any more

FROM ${BASE}
# One number in both images. A new named volume takes its owner from these folders.
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/layercut layercut \
    && install -d -o layercut -g layercut /var/cache/layercut /var/lib/layercut /var/lib/layercut/artifacts
COPY --from=build /opt/layercut /opt/layercut
ENV PATH=/opt/layercut/bin:$PATH PYTHONUNBUFFERED=1 HF_HOME=/var/cache/layercut
USER 10001:10001
WORKDIR /var/lib/layercut
EXPOSE 8000
CMD ["layercut", "gateway"]
