"""Alternative pipelines with Spark or Python, each in a separate process."""
