"""Runs the packaged project: ``python -m malaria_kedro --conf-source conf``."""

from malaria_kedro.cli.packaged import main

if __name__ == "__main__":
    main()
