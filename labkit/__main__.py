"""`python -m labkit` is `labkit`; torchrun needs it."""

from labkit.cli.main import main

main()
