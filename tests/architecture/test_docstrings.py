"""Everything public says what it is."""

from __future__ import annotations

import ast

import pytest

from architecture.source import Module, library


def undocumented(module: Module) -> list[str]:
    """Public modules, classes, functions and methods without a docstring."""
    findings = [] if ast.get_docstring(module.tree) else [f"{module.name}:1: module"]
    pending: list[ast.Module | ast.ClassDef] = [module.tree]
    while pending:
        for node in _definitions(pending.pop()):
            if node.name.startswith("_") or _repeats(node):
                continue
            if not ast.get_docstring(node):
                findings.append(module.at(node, node.name))
            if isinstance(node, ast.ClassDef):
                pending.append(node)
    return findings


def _definitions(
    parent: ast.Module | ast.ClassDef,
) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in parent.body if isinstance(node, kinds)]


def _repeats(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is an overload, a setter or an override, described where it was first."""
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names & {"overload", "setter", "override"})


def test_everything_public_is_described() -> None:
    findings = [finding for module in library() for finding in undocumented(module)]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    "text",
    [
        "x = 1",
        '"""M."""\ndef f(): ...',
        '"""M."""\nasync def f(): ...',
        '"""M."""\nclass A:\n    x: int = 1',
        '"""M."""\nclass A:\n    """A."""\n    def f(self): ...',
        '"""M."""\nclass A:\n    """A."""\n    @property\n    def f(self): ...',
        '"""M."""\ndef f():\n    # says it in a comment\n    return 1',
    ],
)
def test_finds_what_is_not_described(text: str) -> None:
    assert len(undocumented(Module("dance.core.silent", text))) == 1


def test_lets_private_and_nested_things_be() -> None:
    text = (
        '"""M."""\ndef _f(): ...\ndef g():\n    """G."""\n    def h(): ...\n'
        'class A:\n    """A."""\n    def __init__(self): ...\n'
    )
    assert undocumented(Module("dance.core.spoken", text)) == []
