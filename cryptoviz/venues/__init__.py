"""Venues: exchanges with a live stream of trades, one module for each, with everything about it. Exports what a venue of your own needs."""
