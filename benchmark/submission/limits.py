"""How big a submission may be; all sizes in bytes. A real one needs a tenth of this."""

from __future__ import annotations

from typing import Final

PACKAGE_BYTES: Final = 32 * 2**20
MEMBERS: Final = 201
PATH_LENGTH: Final = 240
RECORD_BYTES: Final = 2 * 2**20
NOTE_BYTES: Final = 8 * 2**10
PREDICTIONS_BYTES: Final = 8 * 2**20
UNPACKED_BYTES: Final = 16 * 2**20
"""Of one predictions file, unpacked."""
TOTAL_BYTES: Final = 64 * 2**20
"""Of all predictions files together, unpacked."""
RATIO: Final = 100
"""Of unpacked to packed bytes of predictions; tables of different numbers stay below 15."""
JSON_DEPTH: Final = 12
TEXT_LENGTH: Final = 400
"""Characters of one text in a record."""
NUMBERS_LENGTH: Final = 4000
"""Characters of one list of subjects' numbers."""
FINDINGS: Final = 100
"""How many findings are told one by one."""
