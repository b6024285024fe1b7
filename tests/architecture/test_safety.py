"""Nothing from outside is executed, pickles are read in one place, and only the CLI prints."""

from __future__ import annotations

import ast
import re

import pytest

from architecture.source import Module, argument, library

PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
PICKLE_HOME = "dance.core.unpickle"
"""The only place that may look into pickles: it splits them by pickletools and runs nothing."""
SAFE_YAML = {"yaml.SafeLoader", "yaml.CSafeLoader"}
EXECUTES = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}

TORCH_SAVE = re.compile(r"dance\.condensed\.formats\.")
"""The only place that may write torch's own format: plain tensors for others, never read back."""

NATIVE = "dance.kernels.library"
"""The only place that loads native code: what the installation built, after its checksum."""
LOADS = re.compile(r"ctypes\..*(DLL|LoadLibrary)$")

PRINTS = re.compile(r"dance\.cli(?:\.|$)|dance\.core\.(progress|streams)$")
"""Results go to stdout in the command line; progress writes to stderr."""


def unsafe_reads(module: Module) -> list[str]:
    """Ways by which a file from outside could run code, or by which text could."""
    findings = []
    for node, target in module.imports():
        top = target.partition(".")[0]
        if top in PICKLES or (top == "pickletools" and module.name != PICKLE_HOME):
            findings.append(module.at(node, f"imports {target}"))
    for call, name in module.calls():
        if name in EXECUTES:
            findings.append(module.at(call, f"calls {name}"))
        elif name == "torch.load" and not _is(argument(call, "weights_only"), True):
            findings.append(module.at(call, "torch.load without weights_only=True"))
        elif name == "torch.save" and not TORCH_SAVE.match(module.name):
            findings.append(module.at(call, "torch.save: store safetensors"))
        elif name == "numpy.load" and not _is(argument(call, "allow_pickle"), False):
            findings.append(module.at(call, "numpy.load without allow_pickle=False"))
        elif name in {"yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all"}:
            findings.append(module.at(call, f"{name}: use yaml.safe_load"))
        elif name in {"yaml.load", "yaml.load_all"}:
            loader = argument(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
            if loader is None or module.dotted(loader) not in SAFE_YAML:
                findings.append(module.at(call, f"{name} without a safe loader"))
        elif LOADS.match(name) and module.name != NATIVE and not _of_process(call):
            findings.append(module.at(call, f"{name} of a file: {NATIVE} alone loads native code"))
        elif name.startswith("subprocess.") and not _is(argument(call, "shell"), False, None):
            findings.append(module.at(call, f"{name} through a shell"))
    return findings


def prints(module: Module) -> list[str]:
    """Output outside of the command line and of progress."""
    if PRINTS.match(module.name):
        return []
    return [
        module.at(call, f"calls {name}: results belong to the command line, news to core.progress")
        for call, name in module.calls()
        if name in {"print", "pprint.pprint", "rich.print", "sys.stdout.write", "sys.stderr.write"}
    ]


def _of_process(call: ast.Call) -> bool:
    """Whether ``ctypes.CDLL(None)`` is called, which loads nothing."""
    return _is(call.args[0] if call.args else argument(call, "name"), None)


def _is(value: ast.expr | None, *accepted: object) -> bool:
    if value is None:
        return None in accepted
    return isinstance(value, ast.Constant) and value.value in accepted


def test_nothing_from_outside_is_executed() -> None:
    findings = [finding for module in library() for finding in unsafe_reads(module)]
    assert not findings, "\n".join(findings)


def test_only_the_command_line_prints() -> None:
    findings = [finding for module in library() for finding in prints(module)]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "import pickletools",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=flexible)",
        "import torch\ntorch.save(state, path)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "import yaml\nyaml.load(text, Loader=yaml.FullLoader)",
        "import yaml\nyaml.unsafe_load(text)",
        "eval(text)",
        "exec(text)",
        "import subprocess\nsubprocess.run(command, shell=True)",
        "import ctypes\nctypes.CDLL(path)",
        "from ctypes import cdll\ncdll.LoadLibrary(path)",
    ],
)
def test_finds_an_unsafe_read(text: str) -> None:
    assert len(unsafe_reads(Module("dance.data.careless", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path, allow_pickle=False)",
        "import yaml\nyaml.safe_load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.CSafeLoader)",
        "network.eval()",
        "import re\nre.compile(text)",
        "import subprocess\nsubprocess.run(['git', 'status'])",
        "import ctypes\nctypes.CDLL(None)",
    ],
)
def test_lets_a_safe_read_pass(text: str) -> None:
    assert unsafe_reads(Module("dance.data.careful", text)) == []


def test_pickles_have_one_home_which_does_not_run_them() -> None:
    assert unsafe_reads(Module(PICKLE_HOME, "import pickletools")) == []
    assert len(unsafe_reads(Module(PICKLE_HOME, "import pickle"))) == 1


def test_torch_save_has_one_home() -> None:
    text = "import torch\ntorch.save(tensors, path)"
    assert unsafe_reads(Module("dance.condensed.formats.pt", text)) == []


def test_finds_a_print_and_lets_the_command_line() -> None:
    text = "print(score)"
    assert len(prints(Module("dance.engine", text))) == 1
    assert len(prints(Module("dance.climate", text))) == 1
    assert prints(Module("dance.cli.main", text)) == []
