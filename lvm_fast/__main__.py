"""`python -m lvm_fast` is the `lvm-fast` command."""

from .cli import main

raise SystemExit(main())
