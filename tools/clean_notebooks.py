"""Store the notebooks of examples without outputs, counts of executions and metadata of editors.

Run it after you have changed a notebook; a test fails if one is not in this form.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.ipynb"))
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def clean(text: str) -> str:
    """The text of a notebook file in the form in which it is stored.

    Args:
        text: JSON of notebook format 4.5, as any editor writes it.
    """
    cells = [_cell(cell) for cell in json.loads(text)["cells"]]
    content = {"cells": cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    lines = "".join(cell["source"]).splitlines(keepends=True)
    kept = {"cell_type": cell["cell_type"], "id": cell["id"], "metadata": {}, "source": lines}
    if cell["cell_type"] == "code":
        kept |= {"execution_count": None, "outputs": []}
    return kept


if __name__ == "__main__":
    for path in NOTEBOOKS:
        path.write_text(clean(path.read_text(encoding="utf-8")), encoding="utf-8")
