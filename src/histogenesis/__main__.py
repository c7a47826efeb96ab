"""`python -m histogenesis`."""

from histogenesis.cli import main

main()
