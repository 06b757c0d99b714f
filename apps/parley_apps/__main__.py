"""`python -m parley_apps` does what `parley` does; knows no command."""

import sys

from parley_apps.main import main

sys.exit(main())
