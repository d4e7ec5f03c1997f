"""Units, masks and bounds of features in runs: from files, data and Python to reports and verification."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import blindspots as bs
from blindspots.experiments.evaluate.features import mask_from, restored, unit_from
from blindspots.runs.experiment import Columns
from blindspots.runs.folder import Folder
from blindspots.runs.seals import sha256
from blindspots.runs.store import opened, read_run
from blindspots.runs.verify import verify
from small_run import inputs, network, run

INSIDE = torch.zeros(8, 8, dtype=torch.bool)
INSIDE[2:6, 2:7] = True


@pytest.fixture
def data(tmp_path: Path) -> bs.ArrayData:
    """Opened by name, so that verification can open them again."""
    x, y = inputs(32)
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    return bs.load_data(str(tmp_path / "data.npz"))


@pytest.fixture
def masked(tmp_path: Path, data: bs.ArrayData) -> Path:
    Image.fromarray((255 * INSIDE.numpy()).astype(np.uint8)).save(tmp_path / "mask.png")
    run(tmp_path / "run", data=data, threat="linf:0.2", where=str(tmp_path / "mask.png"), scale="std")
    return tmp_path / "run"


def forge(folder: Path, part: str, name: str, change: torch.Tensor) -> None:
    """Put other values into a column, and seal it anew."""
    files = Folder(folder)
    parts = opened(files).parts
    columns: Columns = {**parts[part], name: change}
    parts.keep(part, columns)
    file = read_run(files)
    digests = {**parts.digests, part: sha256(files[parts.file(part)])}
    (folder / "run.json").write_bytes(file.model_copy(update={"parts": digests}).text)


def test_a_run_keeps_its_threat_and_is_verified_in_it(masked: Path, data: bs.ArrayData) -> None:
    done = opened(Folder(masked))
    threat = restored(done.config.threat, (0.0, 1.0), done.parts["preflight"])
    x = data.rows(0, 32)[0]
    assert threat == bs.Linf(0.2, unit=x.double().std(0, correction=0).float(), where=INSIDE)
    assert done.config.limits
    broken = 0
    for shard in done.parts.below("shards"):
        change = shard["nearest"] != shard["x"].float()[shard["broken"]] / 255
        assert not change[:, :, ~INSIDE].any()
        broken += len(change)
    assert broken
    proof = verify(masked)
    assert proof.ok
    assert any("bounds, units and mask" in topic for topic in proof.checks)


def test_the_report_says_what_may_change_and_in_which_unit(masked: Path) -> None:
    page = bs.write_report(masked).read_text(encoding="utf-8")
    assert "by up to 0.2 standard deviations of each feature; only 20 of 64 values may change" in page


def test_another_mask_and_a_change_outside_of_it_are_found(masked: Path) -> None:
    done = opened(Folder(masked))
    where = done.parts["preflight"]["threat_where"].clone()
    forge(masked, "preflight", "threat_where", ~where)
    assert not verify(masked).ok
    forge(masked, "preflight", "threat_where", where)
    done = opened(Folder(masked))
    assert verify(masked).ok
    name = next(name for name in done.parts if name.startswith("shards/") and len(done.parts[name]["broken"]))
    moved = done.parts[name]["adversarial"].clone()
    moved[0, 0, 0, 0] = 1 - moved[0, 0, 0, 0]
    forge(masked, name, "adversarial", moved)
    assert any("only where it may be" in problem for problem in verify(masked).problems)


def test_the_same_run_goes_on_and_another_mask_does_not(masked: Path, data: bs.ArrayData, tmp_path: Path) -> None:
    again = {"data": data, "threat": "linf:0.2", "scale": "std", "resume": True}
    assert run(masked, where=str(tmp_path / "mask.png"), **again).verdict == opened(Folder(masked)).verdict
    Image.fromarray((255 * ~INSIDE.numpy()).astype(np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(bs.InputError, match="limits"):
        run(masked, where=str(tmp_path / "mask.png"), **again)


def test_a_threat_from_python_is_kept_too(tmp_path: Path, data: bs.ArrayData) -> None:
    x = data.rows(0, 32)[0]
    threat = bs.L2(0.5, unit=x.std(0).numpy())
    result = run(tmp_path / "run", data=data, threat=threat)
    assert 0 < result.robust_accuracy < 1
    assert verify(tmp_path / "run").ok
    assert "times the unit of each feature" in bs.write_report(tmp_path / "run").read_text(encoding="utf-8")


def test_features_may_have_bounds_of_their_own(tmp_path: Path) -> None:
    x, y = inputs(32)
    low, high = x.amin(0) - 0.01, x.amax(0) + torch.linspace(0.01, 0.2, 64).view(1, 8, 8)
    model = bs.Model(network().net, bounds=(low, high), name="bounded")
    result = run(tmp_path / "run", data=bs.ArrayData(x, y), model=model, threat=bs.Linf(0.05))
    shards = opened(Folder(tmp_path / "run")).parts.below("shards")
    points = torch.cat([shard["adversarial"] for shard in shards])
    assert len(points)
    assert ((points >= low) & (points <= high)).all()
    assert result.robust_accuracy < result.clean_accuracy
    assert verify(tmp_path / "run", model=model).ok
    with pytest.raises(bs.InputError, match="within the model's bounds"):
        run(data=bs.ArrayData(x + 1, y), model=model)


def test_a_model_with_other_bounds_is_another_model() -> None:
    net, high = network().net, torch.ones(1, 8, 8)
    high[0, 0, 0] = 2
    assert bs.Model(net, bounds=(0 * high, high)).digest != bs.Model(net, bounds=(0.0, 2.0)).digest
    assert bs.Model(net, bounds=(0 * high, 0 * high + 1)).bounds == bs.Model(net).bounds == (0.0, 1.0)


def test_units_are_measured_on_the_data() -> None:
    x = torch.tensor([[0.0, 1.0, 5.0], [1.0, 1.0, 7.0], [5.0, 1.0, 6.0]])
    data = bs.ArrayData(x, torch.zeros(3, dtype=torch.int64))
    assert torch.allclose(unit_from("std", data), torch.from_numpy(x.numpy().std(0)))
    assert unit_from("mad", data).tolist() == [1.0, 0.0, 1.0]


def test_masks_come_from_pictures_and_arrays(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127], [128, 255]], np.uint8)).save(tmp_path / "m.png")
    assert mask_from(str(tmp_path / "m.png"), (3, 2, 2)).tolist() == [[False, False], [True, True]]
    np.save(tmp_path / "m.npy", np.array([1, 0]))
    assert mask_from(str(tmp_path / "m.npy"), (2,)).tolist() == [True, False]
    np.savez(tmp_path / "m.npz", mask=np.array([True, False]))
    assert mask_from(str(tmp_path / "m.npz"), (2,)).tolist() == [True, False]


def test_masks_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.array([0.5, 0.0]))
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "short.npy", np.ones(2, dtype=bool))
    np.save(tmp_path / "negative.npy", -np.ones(2))
    data = bs.ArrayData(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(bs.InputError, match="1 and 0"):
        mask_from(str(tmp_path / "values.npy"), (2,))
    with pytest.raises(bs.InputError, match="shape"):
        mask_from(str(tmp_path / "short.npy"), (3,))
    for name in ("objects.npy", "gone.png"):
        with pytest.raises(bs.InputError, match="cannot be read"):
            mask_from(str(tmp_path / name), (2,))
    with pytest.raises(bs.InputError, match="at least 0"):
        unit_from(str(tmp_path / "negative.npy"), data)


def test_kinds_that_know_one_ball_refuse_others(data: bs.ArrayData) -> None:
    threat = bs.Linf(0.1, unit=torch.linspace(0.1, 1, 64).view(1, 8, 8))
    with pytest.raises(bs.InputError, match="evaluate and attack"):
        bs.universal(network(), data=data, threat=threat)
    model = bs.Model(network().net, bounds=(torch.zeros(8), torch.linspace(1, 2, 8)))
    with pytest.raises(bs.InputError, match="one pair of bounds"):
        bs.universal(model, data=data, threat="linf:0.1")
