"""Attack a model that runs elsewhere, over HTTP, and see what that costs.

The service here is blindspots' own (`blindspots serve` does the same). Every answer is kept in the run folder before it
is used: with resume=True a run goes on, and nothing is paid for twice.
"""

import os
import tempfile
from pathlib import Path
from threading import Thread

import blindspots as bs
from blindspots.serving import Served, Server

TOKEN = "only-for-this-example"


def main() -> None:
    data, model = bs.load_data("digits", rows=20), bs.load_model("digits")
    os.environ["BLINDSPOTS_TOKEN"] = TOKEN
    with Server(Served(model, data, "digits", TOKEN)) as server, tempfile.TemporaryDirectory() as folder:
        Thread(target=server.serve_forever, daemon=True).start()
        result = bs.evaluate(
            f"oip:{server.url}/v2/models/digits",
            data=data,
            threat=bs.Linf(0.15),
            row_budget=30,
            price="0.0015",
            rehearse="digits-robust",
            out=Path(folder) / "run",
        )
        server.shutdown()
        fooled, verdict = int(result.success.sum()), result.verdict
    print(f"{fooled} of {verdict.rows} inputs fooled")
    print(f"{verdict.queries} queries for {verdict.paid}, {verdict.endpoint.stored} more were known")
    print(f"forecast by a rehearsal on another network: {verdict.endpoint.expected_paid}")


if __name__ == "__main__":
    main()
