"""`python -m variform`, as torchrun -m starts it."""

from variform.cli import main

main()
