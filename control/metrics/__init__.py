"""Prometheus metrics of every component, served by the controller."""
