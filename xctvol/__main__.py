"""`python -m xctvol`."""

from xctvol.cli import main

if __name__ == "__main__":
    main()
