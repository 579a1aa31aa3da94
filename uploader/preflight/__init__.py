"""What is wrong with a model folder, found before its first byte is sent."""
