"""`python -m pctstream`."""

from pctstream.cli import main

main()
