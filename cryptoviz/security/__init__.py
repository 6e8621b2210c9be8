"""Certificates, TLS and tokens."""
