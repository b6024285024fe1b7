"""``python -m dance.bench REQUEST ANSWER``: the child process of :mod:`dance.bench.memory`."""

from __future__ import annotations

import sys
from pathlib import Path

from dance.bench.memory import answer
from dance.core.files import read_json, write_json

if __name__ == "__main__":
    write_json(Path(sys.argv[2]), answer(read_json(Path(sys.argv[1]))))
