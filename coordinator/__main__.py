"""`python -m coordinator`: the coordinator's commands without an installed script."""

from coordinator.cli import main

if __name__ == "__main__":
    main()
