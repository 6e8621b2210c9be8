"""The ways in which a Spark or Python user would build the same thing, each in a process of its own."""
