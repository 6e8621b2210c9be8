"""Backfill: fetches missing ticks from the providers' price history."""
