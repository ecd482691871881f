"""What an .onnx file says, without ONNX Runtime or the `onnx` package."""
