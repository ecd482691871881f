"""TensorRT: its library, the plans that it runs, and the memory of the GPU."""
