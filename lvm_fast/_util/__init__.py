"""General helpers: every room may use them, and they know none of the rooms."""
