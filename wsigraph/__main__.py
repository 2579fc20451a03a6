"""``python -m wsigraph``: the same as the command ``wsigraph``."""

from wsigraph.cli.main import main

if __name__ == "__main__":
    main()
