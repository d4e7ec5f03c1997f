"""A worker process of `Processes`: `python -m blindspots.runs.worker DESCRIPTOR PATH...`"""

import sys
from multiprocessing.connection import Connection

if __name__ == "__main__":
    sys.path[:] = sys.argv[2:]  # as the driver has it: what it could import, this process can
    from blindspots.engine.memory import keep_freed_memory
    from blindspots.runs.executors import serve

    keep_freed_memory()
    serve(Connection(int(sys.argv[1])))
