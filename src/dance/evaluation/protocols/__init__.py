"""The protocols, one file per origin."""
