"""ONNX Runtime, and what an .onnx file says without it."""
