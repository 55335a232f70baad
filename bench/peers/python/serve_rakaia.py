"""Start Rakaia under uvicorn: serve_rakaia.py PORT [DATA_DIR]. Without a data dir it keeps its streams in memory.

uvloop, httptools and no access log: the fastest setting uvicorn has.
"""

from __future__ import annotations

import sys

import uvicorn
from rakaia import create_app
from rakaia.jsonl_store import JsonlStreamStore


def main() -> None:
    port, *data_dirs = sys.argv[1:]
    app = create_app(store=JsonlStreamStore(data_dirs[0])) if data_dirs else create_app()
    uvicorn.run(app, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", access_log=False, backlog=8192)


if __name__ == "__main__":
    main()
