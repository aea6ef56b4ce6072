# The worker: the same code with torch and transformers. From the repository's root:
#   docker build -f deploy/worker.Dockerfile -t layercut-worker .
# The registry's build of torch brings its own CUDA libraries: the image needs the NVIDIA container runtime and no CUDA
# base, and runs on a CPU too. For a CPU image without those libraries (gigabytes less), show pip an index that has the
# CPU builds of torch 2.13.0; pip prefers them:
#   docker build -f deploy/worker.Dockerfile --build-arg PIP_EXTRA_INDEX_URL=https://… -t layercut-worker:cpu .
# For a base of your own (a hardened one, or one with CUDA): --build-arg BASE=…, with Python 3.11 or newer as `python`.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG PIP_EXTRA_INDEX_URL=
# Clients that track jobs (docs/tracking.md): --build-arg TRACKING=mlflow-skinny, or wandb, or both with a space.
ARG TRACKING=
RUN python -m venv /opt/layercut
WORKDIR /src
COPY . .
# Every file by its hash, but torch: a CPU build of it may come from elsewhere.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip="/opt/layercut/bin/pip --disable-pip-version-check" \
    && $pip install --no-deps --require-hashes -r deploy/requirements-worker.txt \
    && $pip install -c constraints.txt torch==2.13.0 $TRACKING \
    && $pip install --no-deps --no-build-isolation . \
    && $pip check

FROM ${BASE}
# One number in both images. A new named volume takes its owner from these folders.
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/layercut layercut \
    && install -d -o layercut -g layercut /var/cache/layercut /var/lib/layercut /var/lib/layercut/artifacts
COPY --from=build /opt/layercut /opt/layercut
ENV PATH=/opt/layercut/bin:$PATH PYTHONUNBUFFERED=1 HF_HOME=/var/cache/layercut \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /var/lib/layercut
CMD ["layercut", "worker"]
