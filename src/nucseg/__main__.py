"""Run the command line as ``python -m nucseg``."""

from nucseg.cli.main import main

main()
