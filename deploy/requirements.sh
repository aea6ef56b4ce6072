#!/bin/sh
# Writes deploy/requirements-{gateway,worker}.txt: what the images install, each file by its hash. `make requirements`.
# In neither: torch and the CUDA libraries that only its builds for NVIDIA ask for. A CPU build of torch may come from
# elsewhere, with other hashes and without those libraries; the worker's Dockerfile installs them by constraints.txt.
set -eu
uv=$1
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

exempt=$(sed -nE 's/^(torch|triton|(nvidia|cuda)-[a-z0-9-]+)==.*/--no-emit-package \1/p' constraints.txt)

write() { # FILE [OPTION…]
    file=$1
    shift
    {
        echo "# Made by make requirements, from pyproject.toml and constraints.txt. Not for editing by hand."
        # setuptools: it builds our own package, which is installed without build isolation.
        # shellcheck disable=SC2086 # $exempt is a list
        echo setuptools | "$uv" pip compile --quiet --universal --python-version 3.11 --constraint constraints.txt \
            --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links $exempt "$@" \
            pyproject.toml -
    } >"$file.new"
    mv "$file.new" "$file"
}

write deploy/requirements-gateway.txt --extra gateway --extra figures
write deploy/requirements-worker.txt --extra worker --extra onnx
