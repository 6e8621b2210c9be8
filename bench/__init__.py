"""Benchmarks: each is a command of the Makefile, prints Markdown and keeps JSON."""
