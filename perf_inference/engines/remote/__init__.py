"""Models that a server runs: the Open Inference Protocol (KServe v2), HTTP and gRPC, connections that break."""
