"""What is minimised: pure functions of tensors, without device, configuration or randomness."""
