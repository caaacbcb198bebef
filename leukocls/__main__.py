"""`python -m leukocls` is the command line."""

from leukocls.cli.commands import main

main()
