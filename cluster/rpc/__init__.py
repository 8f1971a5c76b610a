"""gRPC between applications and nodes: the only home of `grpc` in `cluster`."""
