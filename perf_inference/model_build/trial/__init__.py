"""A model is tried in a process of its own before it comes into this one."""
