"""The command line: `labkit.cli.main`, with the commands for stores, scores, demo and doctor.

Nearly every command calls one public function of another wing; `labkit.console` reports errors.
"""

__all__: list[str] = []
