"""`python -m blindspots` is the command line."""

import sys

from blindspots.cli import main

if __name__ == "__main__":
    sys.argv[0] = "blindspots"  # what help texts and reports call the program
    main()
