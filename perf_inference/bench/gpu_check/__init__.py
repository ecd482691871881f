"""What can be shown only where a GPU is: `tools/gpu_check.sh FOLDER`, one JSON file and one page.

__main__ ── runs each section in a process of its own, with a time limit, and writes results.json and page.md
  child ── runs one section's checks in order and writes a line for each, so that a crash loses no line before it
    section.py ── what a check is; machine, waiting, pytorch, torch_engines ... ── the checks themselves
"""
