"""`python -m parley_export`: the export command without the rest of parley's command line."""

import sys

from parley_export.command import main

sys.exit(main())
