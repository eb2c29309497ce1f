"""Run the command line: `python -m comface_bench`."""

import sys

from comface_bench.cli.main import main

sys.exit(main())
