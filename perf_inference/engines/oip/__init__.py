"""The Open Inference Protocol (KServe v2): tensors, HTTP and gRPC, connections that break."""
