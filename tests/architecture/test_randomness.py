"""Every draw names its generator; the process-wide ones are never used."""

from __future__ import annotations

import ast
import re

import pytest

from architecture.source import Module, argument, library

STATE = re.compile(
    r"torch\.(?:random\.|cuda\.|mps\.)*"
    r"(?:manual_seed|manual_seed_all|seed|seed_all|initial_seed|set_rng_state|set_rng_state_all|fork_rng)$"
)
"""Functions that set, read or fork the global state of torch."""

DRAW = re.compile(
    r"torch\.(?:rand|randn|randint|randperm|normal|bernoulli|multinomial|poisson|binomial"
    r"|rand_like|randn_like|randint_like)$"
    r"|torch\.nn\.init\.(?:\w+_)?(?:uniform|normal|orthogonal|sparse)_$"
    r"|torch\.utils\.data\.(?:RandomSampler|WeightedRandomSampler|random_split)$"
    r"|.*\.(?:normal_|uniform_|random_|bernoulli_|exponential_|cauchy_|log_normal_|geometric_"
    r"|bernoulli|multinomial)$"
)
"""Draws that take a ``generator=`` and fall back to the global one."""

HIDDEN = re.compile(
    r"torch\.nn\.(?:functional\.)?"
    r"(?:dropout\d?d?|Dropout\d?d?|AlphaDropout|FeatureAlphaDropout|gumbel_softmax)$|torch\.dropout$"
)
"""Draws that take no generator at all."""

SEEDED = {"random.Random", "random.SystemRandom"}
NUMPY_TYPES = {"Generator", "SeedSequence", "BitGenerator", "PCG64", "Philox", "default_rng"}


def global_draws(module: Module) -> list[str]:
    """Calls that read or move a process-wide generator."""
    findings = []
    for call, name in module.calls():
        if STATE.match(name):
            findings.append(module.at(call, f"{name} touches the global generator"))
        elif HIDDEN.match(name):
            findings.append(module.at(call, f"{name} cannot be given a generator"))
        elif DRAW.match(name) and argument(call, "generator") is None:
            findings.append(module.at(call, f"{name} draws without generator="))
        elif name.startswith("numpy.random."):
            member = name.removeprefix("numpy.random.")
            if member not in NUMPY_TYPES or not (call.args or call.keywords):
                findings.append(module.at(call, f"{name}: use default_rng with a key of core.rng"))
        elif re.match(r"random\.\w+$", name) and _imports_random(module):
            if name not in SEEDED or not (call.args or call.keywords):
                findings.append(module.at(call, f"{name} draws from the global generator"))
        elif name == "torch.utils.data.DataLoader" and _shuffles(call):
            findings.append(module.at(call, "DataLoader shuffles without generator="))
    return findings


def _imports_random(module: Module) -> bool:
    return any(target.partition(".")[0] == "random" for _, target in module.imports())


def _shuffles(call: ast.Call) -> bool:
    shuffle = argument(call, "shuffle")
    off = shuffle is None or (isinstance(shuffle, ast.Constant) and shuffle.value is False)
    return not off and argument(call, "generator") is None


RESTORES = ("dance.networks.global_seed",)
"""Runs modules of the user, which know no other generator, and restores it afterwards."""


def test_nothing_draws_from_a_global_generator() -> None:
    modules = [module for module in library() if module.name not in RESTORES]
    findings = [finding for module in modules for finding in global_draws(module)]
    assert not findings, "\n".join(findings)


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.manual_seed(0)",
        "import torch\ntorch.cuda.manual_seed_all(0)",
        "from torch import manual_seed\nmanual_seed(0)",
        "import torch\ntorch.random.fork_rng()",
        "import torch\ntorch.rand(3)",
        "import torch as t\nt.randperm(3)",
        "from torch import randn\nrandn(3)",
        "import torch\ntorch.rand_like(x)",
        "x.weight.normal_(0, 1)",
        "x[0].uniform_()",
        "from torch import nn\nnn.init.kaiming_uniform_(w)",
        "from torch.nn import functional as F\nF.dropout(x)",
        "from torch import nn\nnn.Dropout(0.1)",
        "import numpy as np\nnp.random.seed(0)",
        "import numpy as np\nnp.random.rand(3)",
        "from numpy.random import permutation\npermutation(3)",
        "import numpy as np\nnp.random.default_rng()",
        "import random\nrandom.shuffle(x)",
        "from random import choice\nchoice(x)",
        "import random\nrandom.Random()",
        "from torch.utils.data import DataLoader\nDataLoader(x, shuffle=True)",
    ],
)
def test_finds_a_global_draw(text: str) -> None:
    assert len(global_draws(Module("dance.methods.careless", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.rand(3, generator=g)",
        "x.normal_(0, 1, generator=g)",
        "import torch\ntorch.Generator().manual_seed(3)",
        "import numpy as np\nnp.random.default_rng(key)",
        "import random\nrandom.Random(3)",
        "from torch import nn\nnn.init.zeros_(w)",
        "from torch.utils.data import DataLoader\nDataLoader(x, shuffle=True, generator=g)",
        "from torch.utils.data import DataLoader\nDataLoader(x)",
    ],
)
def test_lets_a_keyed_draw_pass(text: str) -> None:
    assert global_draws(Module("dance.methods.careful", text)) == []
