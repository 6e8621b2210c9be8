"""The lake's benchmarks (`make bench-lake`); `python -m bench.lake --help` lists the parts and their sizes."""
