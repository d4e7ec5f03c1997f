"""Evaluate scikit-learn classifiers, with their scaling inside.

A pipeline that ends in a linear model becomes an exact network, so gradients lead the attacks. A forest has none and is
attacked through its scores: here by one quick attack, while `bs.evaluate` would run a longer search.
"""

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindspots as bs


def main() -> None:
    x, y = load_digits(return_X_y=True)
    x = x / 16  # (N, 64) in [0, 1]
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x[:1000], y[:1000])
    forest = RandomForestClassifier(n_estimators=20, random_state=0).fit(x[:1000], y[:1000])
    x, y, threat = x[1000:1020], y[1000:1020], bs.Linf(0.1)

    result = bs.evaluate(bs.from_estimator(pipeline, bounds=(0, 1)), x, y, threat=threat)
    print(f"pipeline: {result.clean_accuracy:.0%} clean, {result.robust_accuracy:.0%} robust")

    box = bs.from_estimator(forest, bounds=(0, 1))
    result = bs.attack(box, x, y, bs.attacks.Square(steps=100), threat=threat)
    print(f"forest: {result.clean_accuracy:.0%} clean, at most {result.robust_accuracy:.0%} robust")


if __name__ == "__main__":
    main()
