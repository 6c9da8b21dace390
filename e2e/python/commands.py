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
    # As real streams are: some of it is written to the bytes below the text.
    output, error = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        code = run(json.loads(line)["arguments"])
    written, told = (stream.buffer.getvalue().decode() for stream in (output, error))
    print(json.dumps({"code": code, "output": written, "error": told}), flush=True)
