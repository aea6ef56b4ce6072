"""What the images install is a list of files by their hashes; it agrees with pyproject.toml and constraints.txt."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
PINNED = {canonicalize_name(name): version for name, version in PINS.items()}
#: A CPU build of torch may come from elsewhere, without the libraries that builds for NVIDIA ask for.
EXEMPT = re.compile(r"torch|triton|(nvidia|cuda)-.*")
EXTRAS = PROJECT["optional-dependencies"]
GATEWAY = [*PROJECT["dependencies"], *EXTRAS["gateway"]]
IMAGES = {
    "gateway": GATEWAY,
    "worker": [*GATEWAY, *(line for line in EXTRAS["worker"] if not line.startswith("layercut["))],
}

images = pytest.mark.parametrize("image", IMAGES)


def listed(image: str) -> dict[Requirement, list[str]]:
    """Each requirement of the image's list, with the hashes that stand under it."""
    text = (ROOT / "deploy" / f"requirements-{image}.txt").read_text()
    lines = [line.split(" --hash=") for line in re.sub(r"\\\n\s*", "", text).splitlines() if not line.startswith("#")]
    return {Requirement(requirement): hashes for requirement, *hashes in lines}


@images
def test_everything_has_the_version_of_constraints(image: str) -> None:
    assert {
        requirement.name: str(requirement.specifier)
        for requirement in listed(image)
        if str(requirement.specifier) != f"=={PINNED.get(canonicalize_name(requirement.name))}"
    } == {}


@images
def test_every_file_is_named_by_a_sha256(image: str) -> None:
    for requirement, hashes in listed(image).items():
        assert hashes, requirement
        assert [made for made in hashes if not re.fullmatch("sha256:[0-9a-f]{64}", made.strip())] == [], requirement


@images
def test_what_the_project_asks_for_is_listed(image: str) -> None:
    names = {canonicalize_name(requirement.name) for requirement in listed(image)}
    wanted = {canonicalize_name(Requirement(line).name) for line in IMAGES[image]}
    missing = {name for name in wanted - names if not EXEMPT.fullmatch(name)}
    assert not missing, f"make requirements was not run: {missing}"


@images
def test_torch_and_the_libraries_of_its_builds_are_left_out(image: str) -> None:
    assert [requirement.name for requirement in listed(image) if EXEMPT.fullmatch(requirement.name)] == []


@images
def test_no_list_names_an_index(image: str) -> None:
    text = (ROOT / "deploy" / f"requirements-{image}.txt").read_text()
    assert not re.search(r"https?://|file://|--(extra-)?index|--find-links", text)


def test_every_package_of_ours_is_sent_to_the_builder() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    let_in = (ROOT / ".dockerignore").read_text().splitlines()
    assert {name.rstrip("*") for name in packages} <= {line.removeprefix("!") for line in let_in}


def test_the_worker_has_all_that_the_gateway_has() -> None:
    assert "layercut[gateway,figures]" in EXTRAS["worker"]


def test_the_gateway_installs_nothing_that_the_worker_lacks() -> None:
    assert set(map(str, listed("gateway"))) <= set(map(str, listed("worker")))


@images
def test_the_image_installs_its_list_by_hash_and_the_rest_without_dependencies(image: str) -> None:
    text = (ROOT / "deploy" / f"{image}.Dockerfile").read_text()
    installs = re.findall(r"\$pip install (.+?) (?:\\|&&)", text)
    [torch] = [line for line in installs if "torch" in line] or [None]
    assert [line for line in installs if line != torch] == [
        f"--no-deps --require-hashes -r deploy/requirements-{image}.txt",
        "--no-deps --no-build-isolation .",
    ]
    assert torch == (f"-c constraints.txt torch=={PINNED['torch']} $TRACKING" if image == "worker" else None)
    assert "$pip check" in text
    assert "!deploy/requirements-*.txt" in (ROOT / ".dockerignore").read_text()
