"""No method can reach the test split, so none can select on it."""

from __future__ import annotations

import ast
import re

import pytest

from architecture.source import Module, docstrings, library

UNREACHABLE = ("dance.evaluation", "dance.data.load", "dance.data.sources")
"""Where test images or scores come from."""

WORD = re.compile(r"(?:^|_)(?:test|validation|val)(?:$|_)")


def reaches_for_test_data(module: Module) -> list[str]:
    """Imports, names and strings by which a method could get at the test split."""
    findings = []
    prefixes = tuple(f"{place}." for place in UNREACHABLE)
    for node, target in module.imports():
        if target in {"dance.data", "dance.data.*"} or f"{target}.".startswith(prefixes):
            findings.append(module.at(node, f"imports {target}"))
    prose = docstrings(module.tree)
    for node in ast.walk(module.tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in prose:
                if text in {"test", "val", "validation"} or text.startswith(UNREACHABLE):
                    findings.append(module.at(node, f"mentions {text!r}"))
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                if WORD.search(name):
                    findings.append(module.at(node, f"mentions {name}"))
            case ast.keyword(arg=str(name)) if WORD.search(name):
                findings.append(module.at(node, f"mentions {name}"))
    return findings


def test_methods_cannot_see_test_data() -> None:
    methods = [module for module in library() if module.room == "methods"]
    assert methods
    findings = [finding for module in methods for finding in reaches_for_test_data(module)]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    "text",
    [
        "from dance.evaluation import evaluator",
        "import dance.evaluation.protocol",
        "from dance.data import load",
        "from dance.data import load as fetch",
        "from dance.data.load import load",
        "import dance.data",
        "from dance.data import *",
        "from ..evaluation import evaluator",
        "import_module('dance.evaluation.evaluator')",
        "images = fetch('cifar10', 'test')",
        "images = problem.test",
        "def step(state, test_set): ...",
        "step(state, test_images=3)",
    ],
)
def test_finds_a_method_that_reaches_for_test_data(text: str) -> None:
    assert reaches_for_test_data(Module("dance.methods.greedy", text))


def test_lets_a_method_use_the_training_set_and_speak_of_tests_in_prose() -> None:
    text = '"""No test data here."""\nfrom dance.data import ImageSet\nlatest = contest = "train"\n'
    assert reaches_for_test_data(Module("dance.methods.honest", text)) == []
