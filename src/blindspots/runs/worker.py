"""A worker process of `Processes`: `python -m blindspots.runs.worker DESCRIPTOR PATH...`"""

import sys
from multiprocessing.connection import Connection

if __name__ == "__main__":
    sys.path[:] = sys.argv[2:]  # as the driver has it: what it could import, this process can
    from blindspots.runs.executors import serve

    serve(Connection(int(sys.argv[1])))
