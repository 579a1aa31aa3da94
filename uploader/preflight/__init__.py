"""What is wrong with a model folder, told before its first byte is sent."""
