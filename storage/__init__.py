"""What outlives a process: the ledger in Redis, objects in S3, the model registry and the broker."""
