"""Trades of venues: the record, proof by trade id that none is missing, and candles. Pure logic without network, files or clock."""
