"""Print the lowest version of each dependency in pyproject.toml, as constraints for pip."""

import re
import tomllib
from pathlib import Path


def lowest(project: dict) -> list[str]:
    """Constraints from the ``[project]`` table: ``numpy>=2.0`` becomes ``numpy==2.0``.

    Raises:
        ValueError: a dependency has no lower bound, or more than that.
    """
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    own = f"{project['name']}["  # an extra that includes another one
    pins = []
    for line in sorted({line for group in groups for line in group if not line.startswith(own)}):
        bound = re.fullmatch(r"([\w.-]+)>=([\w.]+)", line)
        if bound is None:
            raise ValueError(f"a dependency must read name>=version: got {line!r}")
        pins.append(f"{bound[1]}=={bound[2]}")
    return pins


if __name__ == "__main__":
    pyproject = Path(__file__).resolve().parents[1] / "pyproject.toml"
    print(*lowest(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]), sep="\n")
