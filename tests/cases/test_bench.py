"""The benchmark: that it still works, and that it sees every byte that is not as it was sent. Times
are nobody's business here."""
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import xml.etree.ElementTree as tree

import pytest

from support import BINARY, LIMIT, ROOT, SANITIZED, free_port, stop_later

sys.path.append(str(ROOT / "tests/bench"))
import machine  # noqa: E402

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="the load generator needs gcc")
