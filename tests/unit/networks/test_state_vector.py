"""States as flat vectors."""

from __future__ import annotations

import pytest
import torch

from dance.networks import NETWORKS, NetworkConfig, build
from dance.networks.state_vector import VectorLayout, buffer_layout, parameter_layout


@pytest.mark.parametrize("name", NETWORKS.names())
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_views_of_a_flattened_state_are_the_state(name, norm) -> None:
    network = build(NetworkConfig(name=name, width=4, norm=norm, layout="cifar"), 3, 32, 10)
    state = network.initial(torch.Generator().manual_seed(1))
    weights, buffers = parameter_layout(network), buffer_layout(network)
    assert list(weights.shapes) == [name for name, _ in network.named_parameters()]
    assert weights.size == network.parameter_count()
    assert {*weights.shapes, *buffers.shapes} == set(state)
    assert norm == "batch" or not buffers.shapes
    for name, view in weights.views(weights.flatten(state)).items():
        assert torch.equal(view, state[name])


def test_counters_become_floats_beside_floats() -> None:
    layout = VectorLayout({"mean": torch.Size((2,)), "count": torch.Size(())})
    vector = layout.flatten({"mean": torch.ones(2).double(), "count": torch.tensor(3)})
    assert vector.dtype == torch.float64
    assert vector.tolist() == [1, 1, 3]
    assert layout.views(vector)["count"].shape == ()


def test_views_share_the_memory_of_their_vector() -> None:
    layout = VectorLayout({"a": torch.Size((2, 2)), "b": torch.Size((1,))})
    vector = torch.zeros(5)
    layout.views(vector)["a"][1, 0] = 7
    assert vector.tolist() == [0, 0, 7, 0, 0]


def test_a_vector_of_another_length_is_refused() -> None:
    layout = VectorLayout({"a": torch.Size((2, 2))})
    with pytest.raises(RuntimeError):
        layout.views(torch.zeros(5))


def test_flattening_carries_gradients() -> None:
    layout = VectorLayout({"a": torch.Size((2, 2)), "b": torch.Size((1,))})
    leaves = {name: torch.ones(shape, requires_grad=True) for name, shape in layout.shapes.items()}
    (layout.flatten(leaves) * torch.arange(5.0)).sum().backward()
    assert leaves["a"].grad is not None
    assert leaves["a"].grad.tolist() == [[0, 1], [2, 3]]
