"""See `through`."""

import sys

from .through import main

sys.exit(main())
