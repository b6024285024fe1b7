"""What holds for every test: one thread, a cache of its own, and global generators left alone."""

from __future__ import annotations

import os

# Before anything imports torch: the tests run one process per core, one thread in each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # read when datasets is imported; no test needs the network

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

import chromium

torch.set_num_threads(1)

# Tests interrupt themselves and their children. A shell ignores Ctrl-C for what it starts in the
# background, which an ignoring process would stay deaf to, as the package promises.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)

hypothesis.settings.register_profile(
    "dance",
    deadline=None,  # the first call of many torch functions is slow
    derandomize=True,  # a red run is red again
    database=None,
)
hypothesis.settings.load_profile("dance")


def global_generators() -> dict[str, object]:
    """The state of each process-wide generator, comparable with ``==``."""
    kind, key, *position = np.random.get_state()  # noqa: NPY002 (the state that must not move)
    return {
        "random": random.getstate(),
        "numpy": (kind, key.tobytes(), *position),
        "torch": torch.random.get_rng_state().numpy().tobytes(),
    }


@pytest.fixture(autouse=True)
def _global_generators_untouched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which a global generator stands elsewhere than before it."""
    before = global_generators()
    yield
    moved = [name for name, state in global_generators().items() if state != before[name]]
    if moved and request.node.get_closest_marker("draws_globally") is None:
        pytest.fail(
            f"the global generator of {' and '.join(moved)} was moved: pass a torch.Generator, "
            "or mark a test that draws by itself with `draws_globally`"
        )


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Decoded images, experts and what datasets unpacks go to a folder of this run."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("dance-cache")
        patch.setenv("DANCE_CACHE", str(cache))
        patch.setenv("HF_HOME", str(cache / "hub"))
        yield cache


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    """A Chromium without a window; tests that ask for it are skipped where there is none."""
    program = chromium.find()
    if program is None:
        pytest.skip("needs Chromium: install it or name it in $CHROMIUM")
    found = chromium.Browser(program, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()
