"""Six small networks, one of each architecture, as they are exported to ONNX."""

import torch
from torch import Tensor, nn

CLASSES = 4
PICTURE, SERIES, ROW = (3, 16, 16), (10, 5), (12,)


class Block(nn.Module):
    """A residual block."""

    def __init__(self, planes: int, out: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(planes, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
            nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out),
        )  # fmt: skip
        self.short = nn.Sequential(nn.Conv2d(planes, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return (self.main(x) + self.short(x)).relu()


class Transformer(nn.Module):
    """Patches, a class token, positions, one block of attention."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width) / 4)
        self.places = nn.Parameter(torch.randn(1, 17, width) / 4)
        self.block = nn.TransformerEncoderLayer(width, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
        self.out = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        z = self.patches(x).flatten(2).transpose(1, 2)
        z = torch.cat([self.token.expand(z.shape[0], -1, -1), z], 1) + self.places
        return self.out(self.block(z)[:, 0])


class Recurrent(nn.Module):
    """The last step of a recurrent network in both directions."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.cells, self.out = kind(SERIES[1], 8, 2, batch_first=True, bidirectional=True), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cells(x)[0][:, -1])


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.SiLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, CLASSES),
    )  # fmt: skip


def resnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), Block(8, 8, 1), Block(8, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, CLASSES),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))


NETS = {
    "cnn": (cnn, PICTURE),
    "resnet": (resnet, PICTURE),
    "vit": (Transformer, PICTURE),
    "lstm": (lambda: Recurrent(nn.LSTM), SERIES),
    "gru": (lambda: Recurrent(nn.GRU), SERIES),
    "mlp": (mlp, ROW),
}


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """In evaluation mode, with statistics of its own in the batch norms; and the shape of one input."""
    make, shape = NETS[name]
    torch.manual_seed(0)
    net = make()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5), module.running_var.uniform_(0.5, 2)
    return net.eval(), shape
