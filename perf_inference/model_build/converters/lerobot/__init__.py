"""LeRobot policies as networks of PyTorch that can be exported: each is written anew, for inference alone."""
