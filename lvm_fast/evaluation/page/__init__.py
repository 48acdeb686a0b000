"""Pages for the browser: a report in one file, and the look that `lvm-fast explore` shares with it."""
