"""Worker processes: the parent's side, the child's side, and the bytes between them."""
