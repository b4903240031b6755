"""`python -m pbxcore` is the `hookline` command."""

from pbxcore.cli import main

if __name__ == "__main__":
    main()
