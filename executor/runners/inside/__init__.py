"""Inside a runner process: how tasks are run in its three forms, measured, interrupted, and answered for."""
