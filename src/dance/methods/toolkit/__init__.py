"""What several methods share: matching of features and of gradients, inner networks, optimisers."""
