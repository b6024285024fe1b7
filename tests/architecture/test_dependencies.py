"""What is imported is declared, what is declared is imported and pinned."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from architecture.source import ROOT, Module, library

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def canonical(requirement: str) -> str:
    """The normalised name in a requirement: ``Docstring_Parser>=0.16`` -> ``docstring-parser``."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", requirement)[0]).lower()


def imported(modules: list[Module]) -> set[str]:
    """Distributions that modules import, ours and Python's own left out."""
    providers = {"mlflow": ["mlflow-skinny"], **packages_distributions()}  # where it is missing
    names = {target.partition(".")[0] for module in modules for _, target in module.imports()}
    outside = names - sys.stdlib_module_names - {"dance"}
    return {canonical(providers.get(name, [name])[0]) for name in outside}


def test_dependencies_are_those_that_are_imported() -> None:
    declared = {canonical(line) for line in PROJECT["dependencies"]}
    extras = PROJECT["optional-dependencies"]
    optional = {canonical(line) for name in ("hf", "slurm", "track") for line in extras[name]}
    assert imported(library()) - optional == declared


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = {canonical(line) for group in groups for line in group} - {"dance"}
    assert declared - {canonical(line) for line in pins} == set()


def test_finds_what_is_imported_under_another_name() -> None:
    text = "import os\nimport yaml\nfrom PIL import Image\nimport dance.core\nimport odd_name\n"
    assert imported([Module("dance.data.a", text)]) == {"pyyaml", "pillow", "odd-name"}
