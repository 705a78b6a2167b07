"""What the parts can do, each figure beside one that was measured in the same run."""

import sys

from pathlib import Path

# The servers that the tests start serve here, too; their folder is no package.
sys.path.append(str(Path(__file__).resolve().parent.parent / "integration-tests"))
