"""Declaring, registering and loading handlers."""
