"""Which task goes to which worker."""
