"""The devices that a model runs on: CUDA, PyTorch, and the memory of a process and of a GPU."""
