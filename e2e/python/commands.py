"""An operator at the command line who does not start Python anew for each command: lines of JSON in, answers out.

{"do": "run", "arguments": ["admin", …]}    {"code": exit code, "output": …, "error": …}
"""

import contextlib
import io
import json
import os
import sys

from authserver.cli.main import run

options = json.loads(sys.argv[1])
os.environ.update(options["environment"])
os.chdir(options["directory"])
for line in sys.stdin:
    output, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        code = run(json.loads(line)["arguments"])
    print(json.dumps({"code": code, "output": output.getvalue(), "error": error.getvalue()}), flush=True)
