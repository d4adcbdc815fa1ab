"""The tests; what all of them need is in conftest.py."""

import sys

# As in pipeline/runner.py: optional to jsonschema, which nbformat imports, and nearly two seconds.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
