"""Exact retrieval: banks of vectors, ranks and top-k, mining, search, near-duplicates."""
