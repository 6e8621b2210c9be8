"""The speed of collection (`make bench-collect`)."""
