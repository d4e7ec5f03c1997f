"""Image classifiers with their own preprocessing: the threat is in the user's pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import blindspots as bs
from blindspots.errors import InputError
from blindspots.models.preprocessing import Preprocessing
from blindspots.problem import Need

QUICK = str(Path(__file__).with_name("quick.toml"))
NAMES = ["cat", "dog", "owl"]


def pixels(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def as_rows(picture: Any) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


# ------------------------------------------------------------------ the rebuilt preprocessing


@pytest.mark.parametrize("size", [(20, 31), (50, 17), (64, 64), (33, 40)])
@pytest.mark.parametrize("how", ["NEAREST", "BILINEAR", "BICUBIC", "LANCZOS"])
def test_a_resize_is_pillows_but_for_its_rounding(how: str, size: tuple[int, int]) -> None:
    picture, resample = pixels(33, 40), Image.Resampling[how]
    wanted = np.asarray(Image.fromarray(picture).resize(size[::-1], resample))
    found = Preprocessing(size, None, int(resample))(as_rows(picture))[0].permute(1, 2, 0) * 255
    assert np.abs(found.numpy() - wanted).max() <= (0.01 if how == "NEAREST" else 1.3)
    assert np.abs(found.numpy() - wanted).mean() < 0.4  # two roundings, no shift


@pytest.mark.parametrize("old", [(200, 100), (100, 200), (300, 40), (120, 110)])
@pytest.mark.parametrize("new", [(50, 50), (90, 97), (150, 60), (96, 150)])
@pytest.mark.parametrize("how", ["BICUBIC", "LANCZOS"])
def test_axes_are_resized_in_pillows_order(how: str, old: tuple[int, int], new: tuple[int, int]) -> None:
    """The order shows where overshoots are cut off between the two passes: black beside white."""
    picture = (pixels(*old) > 127).astype(np.uint8) * 255
    wanted = np.asarray(Image.fromarray(picture).resize(new[::-1], Image.Resampling[how]))
    found = Preprocessing(new, None, int(Image.Resampling[how]))(as_rows(picture))[0].permute(1, 2, 0) * 255
    assert np.abs(found.numpy() - wanted).max() <= 1.6


@pytest.mark.parametrize(("height", "width", "wanted"), [(40, 60, (20, 30)), (60, 40, (30, 20)), (41, 67, (20, 32))])
def test_one_number_is_the_size_of_the_shorter_side(height: int, width: int, wanted: tuple[int, int]) -> None:
    assert Preprocessing(20, None, 2)(torch.rand(1, 3, height, width)).shape[2:] == wanted


def test_a_crop_takes_the_middle_and_fills_what_is_missing() -> None:
    x = torch.arange(1.0, 31).reshape(1, 1, 5, 6)
    assert torch.equal(Preprocessing(None, (3, 2), 2)(x), x[:, :, 1:4, 2:4])
    grown = Preprocessing(None, (7, 6), 2)(x)
    assert torch.equal(grown[:, :, 1:6], x)
    assert grown.sum() == x.sum()


def test_what_a_crop_throws_away_has_no_gradient() -> None:
    x = torch.rand(1, 3, 10, 10, requires_grad=True)
    Preprocessing(None, (4, 4), 2, mean=[0.5] * 3, std=[0.2, 0.4, 0.5])(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.allclose(x.grad[0, :, 3:7, 3:7], torch.tensor([5.0, 2.5, 2.0])[:, None, None].expand(3, 4, 4))
    assert x.grad.sum() == pytest.approx(16 * 9.5)


# ------------------------------------------------------------------ folders of transformers


def saved(folder: Path, processor: str, **settings: Any) -> str:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        id2label=dict(enumerate(NAMES)), label2id={name: i for i, name in enumerate(NAMES)},
    )  # fmt: skip
    transformers.ViTForImageClassification(config).eval().save_pretrained(folder)
    getattr(transformers, processor)(**settings).save_pretrained(folder)
    return f"hf:{folder}"


SQUARE = {"height": 32, "width": 32}
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "warped": ("ViTImageProcessorPil", {"size": SQUARE}),
    "warped, bicubic": ("ViTImageProcessorPil", {"size": SQUARE, "resample": 3}),
    "cropped": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 36}, "crop_size": SQUARE}),
    "with a margin": ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 32}, "crop_pct": 0.875}),
    "not normalised": ("ViTImageProcessorPil", {"size": SQUARE, "do_normalize": False}),
    "minus 1, and scaled twice": ("EfficientNetImageProcessorPil", {"size": SQUARE, "rescale_offset": True}),
    "of blue, green, red": ("MobileViTImageProcessorPil", {"size": {"shortest_edge": 36}, "crop_size": SQUARE}),
    "larger than it says": ("LevitImageProcessorPil", {"size": {"shortest_edge": 28}, "crop_size": SQUARE}),
    "not scaled": ("ViTImageProcessorPil", {"size": SQUARE, "do_rescale": False}),
}


@pytest.mark.parametrize("what", PROCESSORS)
def test_a_classifier_sees_what_its_image_processor_gives_it(what: str, tmp_path: Path) -> None:
    name, settings = PROCESSORS[what]
    model = bs.load_model(saved(tmp_path, name, **settings))
    transformers = pytest.importorskip("transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    picture = pixels(47, 61)
    given = torch.from_numpy(np.array(processor(picture, input_data_format="channels_last")["pixel_values"][0]))
    wanted = model.net.net(pixel_values=given[None]).logits
    assert torch.allclose(model.logits(as_rows(picture)), wanted, atol=0.02 * float(wanted.detach().abs().max()))
    (note,) = model.notes
    assert note.code == "preprocessing-inside"
    assert model.access is Need.GRAD


DEFAULTS = [
    "ViT", "DeiT", "Beit", "ConvNext", "MobileNetV1", "MobileNetV2", "Bit",
    "Levit", "PoolFormer", "Pvt", "MobileViT", "EfficientNet", "Siglip",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", DEFAULTS)
def test_a_default_processor_is_rebuilt_to_one_level(family: str) -> None:
    from blindspots.models.huggingface_images import _preprocessing

    processor = getattr(pytest.importorskip("transformers"), f"{family}ImageProcessorPil")()
    before, _ = _preprocessing(processor, family)
    for height, width in ((224, 224), (300, 451), (97, 64), (640, 480), (256, 256), (225, 400), (500, 333)):
        blocks = np.kron(pixels(height // 16 + 1, width // 16 + 1), np.ones((16, 16, 1)))[:height, :width]
        noise = np.random.default_rng(1).normal(0, 12, blocks.shape)
        picture = np.clip(blocks + noise, 0, 255).astype(np.uint8)
        given = np.array(processor(picture, input_data_format="channels_last")["pixel_values"][0], np.float32)
        apart = before.levels(before(as_rows(picture))) - before.levels(torch.from_numpy(given))
        assert float(apart.abs().max()) <= 1.15


def test_an_evaluation_of_one_is_in_its_own_pixels(tmp_path: Path) -> None:
    spec = saved(tmp_path, "ViTImageProcessorPil", size=SQUARE)
    x = torch.cat([as_rows(pixels(40, 48, seed)) for seed in range(4)])
    run = bs.evaluate(spec, x, bs.load_model(spec).logits(x).argmax(1), threat="linf:8/255", protocol=QUICK)
    assert run.clean_accuracy == 1
    assert run.adversarial.shape == (4, 3, 40, 48)
    assert "preprocessing-inside" in {finding.code for finding in run.findings}


def test_an_image_processor_that_does_more_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an image processor that resizes, crops, rescales and normalises"):
        bs.load_model(saved(tmp_path, "DonutImageProcessorPil", size=SQUARE))


def test_a_folder_without_an_image_processor_is_refused(tmp_path: Path) -> None:
    spec = saved(tmp_path, "ViTImageProcessorPil", size=SQUARE)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"expected model.safetensors, config.json and preprocessor_config.json"):
        bs.load_model(spec)


# ------------------------------------------------------------------ folders of timm


@pytest.mark.parametrize(
    "more", [{}, {"crop_pct": 0.9, "interpolation": "bicubic"}, {"crop_pct": 1.0, "crop_mode": "squash"}]
)
def test_a_classifier_of_timm_sees_what_its_own_transform_gives_it(more: dict[str, Any], tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_data_config

    torch.manual_seed(0)
    cfg = {"input_size": (3, 64, 64), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)} | more
    net = timm.create_model("resnet10t", num_classes=3, pretrained_cfg_overlay=cfg).eval()
    timm.models.save_for_hf(net, str(tmp_path), model_config={"label_names": NAMES}, safe_serialization=True)
    model = bs.load_model(f"timm:{tmp_path}")
    picture = pixels(97, 82)
    given = create_transform(**resolve_data_config({}, model=net))(Image.fromarray(picture))[None]
    wanted = net(given).detach()
    assert model.class_names == NAMES
    assert torch.allclose(model.logits(as_rows(picture)), wanted, atol=0.02 * float(wanted.abs().max()))
    (note,) = model.notes
    assert note.code == "preprocessing-inside"


def test_a_folder_of_something_else_is_no_model_of_timm(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="the configuration of a timm model"):
        bs.load_model(f"timm:{tmp_path}")
    (tmp_path / "config.json").write_text('{"architecture": "resnet10t"}')
    with pytest.raises(InputError, match="got one without num_classes, pretrained_cfg"):
        bs.load_model(f"timm:{tmp_path}")
