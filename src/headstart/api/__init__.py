"""Python API: the commands as functions that return values. `headstart` exports them."""
