"""Evaluate a classifier of table rows whose columns obey rules, on the command line's own files.

The share of digits in an address follows from its length and its digits. An attack that does not know this finds rows
that cannot exist, so the model looks robust; to one that knows it, the model is not.
"""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindspots as bs

FEATURES = """
[columns.length]
type = "integer"
range = [10, 250]
unit = "characters"

[columns.digits]
type = "integer"
range = [0, 200]

[columns.share]
range = [0, 1]

[columns.scheme]
type = "category"
values = ["http", "https"]
change = "never"

[[relations]]
holds = "share == digits / length"

[[relations]]
holds = "digits <= length - 5"
"""


def addresses(folder: Path, rows: int = 60) -> str:
    """A csv file; its name."""
    draw = np.random.RandomState(0)
    length = draw.randint(20, 200, rows)
    digits = np.minimum((length * draw.beta(3, 8, rows)).astype(int), length - 5)
    scheme = draw.choice(["http", "https"], rows)
    kind = np.where(digits / length + 0.05 * (scheme == "http") > 0.28, "phishing", "legitimate")
    with (folder / "urls.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "digits", "share", "scheme", "status"])
        writer.writerows(zip(length, digits, digits / length, scheme, kind, strict=True))
    return str(folder / "urls.csv")


def main() -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "features.toml").write_text(FEATURES)
        told = Path(folder) / "features.toml"
        data = bs.load_data(addresses(Path(folder)), layout="label=status", features=told)
        x, y = data.rows(0, len(data))
        words = [data.class_names[k] for k in y]
        pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(x.numpy(), words)
        model = bs.from_estimator(pipeline, name="logistic")
        done = bs.evaluate(model, data=data, threat="l2:0.4", scale="std", row_budget=150)
        looked = done.verdict.table.looked.share
        print(f"it looked {looked:.0%} robust, it is at most {done.robust_accuracy:.0%}")
        for column in done.verdict.table.columns:
            print(f"{column.name} changed in {column.rows} rows")


if __name__ == "__main__":
    main()
