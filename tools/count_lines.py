"""Count the lines of code of each package under a folder of sources.

A line counts if it holds a token that is neither a comment nor part of a docstring.

usage: python tools/count_lines.py [src/dance]
"""

import ast
import sys
import tokenize
from collections import Counter
from pathlib import Path

NO_CODE = {
    getattr(tokenize, name)
    for name in ("COMMENT", "NL", "NEWLINE", "INDENT", "DEDENT", "ENCODING", "ENDMARKER")
}


def code_lines(path: Path) -> int:
    """Lines of a module without comments, blank lines and strings that stand alone."""
    strings: set[int] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            strings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    found: set[int] = set()
    with path.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type not in NO_CODE:
                found.update(range(token.start[0], token.end[0] + 1))
    return len(found - strings)


if __name__ == "__main__":
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "src/dance")
    counts: Counter[str] = Counter()
    for path in root.rglob("*.py"):
        counts[path.relative_to(root).parts[0]] += code_lines(path)
    for package, count in [*sorted(counts.items()), ("all", counts.total())]:
        sys.stdout.write(f"{package:20}{count:7,}\n")
