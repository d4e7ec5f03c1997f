"""Draw a security curve: accuracy at every radius, from one run.

An attack without a radius finds the smallest change that fools each input. The inputs whose distance is larger than a
radius are those that withstand it, so the distances give the accuracy at all radii at once.
"""

import blindspots as bs


def main() -> None:
    x, y = bs.load_data("digits").rows(0, 50)
    radii = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    print("radius        " + "".join(f"{radius:>7}" for radius in radii))
    for name in ("digits", "digits-robust"):
        result = bs.attack(bs.load_model(name), x, y, bs.attacks.FMN(), threat=bs.Linf())
        curve = [(result.norms > radius).float().mean().item() for radius in radii]
        print(f"{name:<14}" + "".join(f"{accuracy:>7.0%}" for accuracy in curve))


if __name__ == "__main__":
    main()
