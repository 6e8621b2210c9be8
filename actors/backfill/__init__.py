"""Fetches from the providers' history what was not seen live."""
