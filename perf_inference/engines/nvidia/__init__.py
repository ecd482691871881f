"""What TensorRT needs besides its own library: memory of the GPU, plans and what they say."""
