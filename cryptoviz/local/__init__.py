"""This machine: the pipeline's home, files that only their owner may access, and processes. Below the settings, imports no other package."""
