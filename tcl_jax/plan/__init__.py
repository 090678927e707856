"""What a run would need, by compiling its step without training."""
