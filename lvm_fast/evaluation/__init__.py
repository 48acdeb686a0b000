"""Honest evaluation: exact Hit@K with its pool, baselines, chain-level intervals, reports and pictures."""
