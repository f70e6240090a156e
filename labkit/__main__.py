"""`python -m labkit` is `labkit`; torchrun needs it."""

from labkit.cli import main

main()
