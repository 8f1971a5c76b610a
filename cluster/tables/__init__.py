"""What cluster brings to the replicated ledger: one table a file."""
