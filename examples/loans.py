"""Make the loans of docs/tables_tutorial.md: a table with words and relations, and a pipeline that was fitted on it.

Writes loans.csv and loans.skops into the folder that is named, or where it runs.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

COLUMNS = ["amount", "term", "rate", "payment", "income", "share", "open", "total", "home", "status", "children", "age"]


def loans(rows: int = 900) -> tuple[Any, Any]:
    """The cells of a table (rows, 12), and whether each loan was paid back."""
    draw = np.random.RandomState(7)
    amount, term = draw.randint(10, 300, rows) * 100, draw.choice([24, 36, 60], rows)
    rate, income = draw.uniform(3, 18, rows).round(1), (draw.lognormal(10.4, 0.4, rows) / 100).round() * 100
    payment = (amount * (1 + rate / 100) / term).round(2)
    total = draw.randint(2, 30, rows)
    opened = np.minimum(draw.randint(1, 25, rows), total)
    home, status = draw.choice(["rent", "own", "mortgage"], rows), draw.choice(["single", "married"], rows)
    children = np.where(status == "single", 0, draw.randint(0, 4, rows))
    share, age = (payment / income).round(4), draw.randint(18, 75, rows)
    risk = 25 * share + 0.06 * opened + 0.4 * (home == "rent") + 0.1 * children - age / 60 + draw.normal(0, 0.25, rows)
    cells = [amount, term, rate, payment, income, share, opened, total, home, status, children, age]
    return np.array([column.tolist() for column in cells], dtype=object).T, np.where(risk > 0.35, "default", "paid")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    x, y = loans()
    words = [k for k, name in enumerate(COLUMNS) if name in ("home", "status")]
    numbers = [k for k in range(len(COLUMNS)) if k not in words]
    columns = ColumnTransformer([("numbers", StandardScaler(), numbers), ("words", OneHotEncoder(), words)])
    network = MLPClassifier((16,), alpha=0.1, max_iter=2000, random_state=0)
    pipeline = make_pipeline(columns, network).fit(x[:600], y[:600])
    skops.io.dump(pipeline, folder / "loans.skops")
    with (folder / "loans.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*COLUMNS, "outcome"], *np.c_[x, y][600:].tolist()])
    print(
        f"{len(x) - 600} loans that the pipeline has not seen, right on {pipeline.score(x[600:], y[600:]):.0%} of them"
    )


if __name__ == "__main__":
    main()
