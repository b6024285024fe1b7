"""Networks: skeletons without weights, called with a state. One file per family; ``dance list networks`` shows all."""

from dance.networks.protocol import NETWORKS, Network, NetworkConfig, State, build

__all__ = ["NETWORKS", "Network", "NetworkConfig", "State", "build"]
