"""The command line: `labkit.cli.main` with the commands for stores and for the demo.

Every command calls one public function of another wing; `labkit.console` reports its errors.
"""

__all__: list[str] = []
