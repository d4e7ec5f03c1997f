"""Harden a network and compare it with the original.

`bs.harden` trains a copy by adversarial training and evaluates both on rows that training never saw. Ten epochs show
the idea; a real run takes the recipe's own number, and leaves the control trainings switched on.
"""

import blindspots as bs


def main() -> None:
    model = bs.load_model("digits")
    x, y = bs.load_data("digits").rows(0, 300)

    run = bs.harden(model, x, y, threat=bs.Linf(0.15), epochs=10, test_rows=20, controls=False, study_rows=0)
    print("            clean   robust")
    for name, result in {"original": run.before, "hardened": run.after}.items():
        print(f"{name:<10}{result.clean_accuracy:>7.1%}  {result.robust_accuracy:>7.1%}")


if __name__ == "__main__":
    main()
