"""`python -m blockcert_producers.cli` is `blockcert`."""

from blockcert_producers.cli import main

main()
