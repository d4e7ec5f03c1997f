"""Evaluate a PyTorch network of your own.

How often is it still right when every pixel may change by at most 0.1? Put your network and your test rows in place of
the small ones trained here; the call of `bs.evaluate` stays the same.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import blindspots as bs


def main() -> None:
    torch.manual_seed(0)
    digits = load_digits()
    x, y = torch.tensor(digits.images / 16).float()[:, None], torch.tensor(digits.target)  # (N, 1, 8, 8) in [0, 1]
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[:1000]), y[:1000]).backward()
        optimizer.step()

    result = bs.evaluate(bs.Model(net, bounds=(0, 1)), x[1000:1050], y[1000:1050], threat=bs.Linf(0.1))
    low, high = result.interval
    print(f"clean accuracy {result.clean_accuracy:.1%}")
    print(f"robust accuracy {result.robust_accuracy:.1%} (95% interval {low:.1%} to {high:.1%})")
    for finding in result.findings:
        print(finding)


if __name__ == "__main__":
    main()
