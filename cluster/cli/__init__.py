"""The `quorate` command: one file a command, collected in main.py."""
