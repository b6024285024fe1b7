"""Networks without weights of their own, called with a state; one file per family."""

from dance.networks.protocol import NETWORKS, Network, NetworkConfig, State, build, to_device

__all__ = ["NETWORKS", "Network", "NetworkConfig", "State", "build", "to_device"]
