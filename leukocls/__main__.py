"""`python -m leukocls` is the command line."""

from leukocls.cli import main

main()
