"""Manifests against the schemas of their kinds: `build/chart/bin/python chart_schemas.py FILE…`. A program of its own,
which imports nothing of ours: the schemas come from packages that `make chart` installs beside the project.

Kubernetes' own kinds are checked against several versions of it; KEDA's and the Prometheus operator's against models of
their definitions. What a field is called is checked in both, and a kind that no schema is known of is refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

#: The oldest that the chart says it takes, and the newest that there are schemas of.
VERSIONS = ("1.28", "1.31", "1.34", "1.37")
MODELS = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}


def faults(manifest: dict[str, Any]) -> Iterator[str]:
    if manifest["apiVersion"] in MODELS:
        yield from faults_of_model(manifest)
        yield from (f"as a Job: {fault}" for job in jobs_of(manifest) for fault in faults(job))
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"Kubernetes {version}: {str(error).splitlines()[0]}"


def faults_of_model(manifest: dict[str, Any]) -> Iterator[str]:
    model = getattr(import_module(MODELS[manifest["apiVersion"]]), manifest["kind"])
    manifest = without_pod(manifest)
    try:
        read = model.model_validate(manifest)
    except Exception as error:  # noqa: BLE001 - pydantic's own, and what the models raise beside it
        yield str(error)[:500]
        return
    yield from unread(manifest, read.model_dump(mode="json", by_alias=True, exclude_unset=True))


def without_pod(manifest: dict[str, Any]) -> dict[str, Any]:
    """A ScaledJob's pod is checked as a Job's; the models fail on a quantity of digits alone."""
    if manifest["kind"] != "ScaledJob":
        return manifest
    pod = {"spec": {"containers": [{"name": "checked-elsewhere"}]}}
    job = {**manifest["spec"]["jobTargetRef"], "template": pod}
    return {**manifest, "spec": {**manifest["spec"], "jobTargetRef": job}}


def unread(given: Any, read: Any, place: str = "") -> Iterator[str]:
    """The fields of ``given`` that the model did not know: it leaves them out."""
    if isinstance(given, dict) and isinstance(read, dict):
        for name, value in given.items():
            if name in read:
                yield from unread(value, read[name], f"{place}/{name}")
            else:
                yield f"{place}/{name} is no field"
    elif isinstance(given, list) and isinstance(read, list):
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from unread(one, other, f"{place}/{number}")


def jobs_of(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What KEDA makes of a ScaledJob, for those who know Kubernetes' own kinds alone."""
    if manifest["kind"] == "ScaledJob":
        yield {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": manifest["metadata"],
            "spec": manifest["spec"]["jobTargetRef"],
        }


def main(files: list[str]) -> int:
    """The number of faults, each a line on stdout; beside each file the jobs of its ScaledJobs, for other checks."""
    count = 0
    for file in map(Path, files):
        manifests = [found for found in yaml.safe_load_all(file.read_text()) if found]
        jobs = [job for manifest in manifests for job in jobs_of(manifest)]
        file.with_name(f"jobs-of-{file.name}").write_text(yaml.safe_dump_all(jobs, sort_keys=False))
        for manifest in manifests:
            for fault in faults(manifest):
                count += 1
                print(f"{file.name}: {manifest['kind']} {manifest['metadata']['name']}: {fault}")
        print(f"{file.name}: {len(manifests)} manifests were looked at")
    return min(count, 100)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
