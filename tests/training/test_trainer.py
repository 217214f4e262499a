"""Training learns, repeats itself bit by bit, goes on from every step as if nothing had happened, and says why it cannot."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model import backbones
from model.network import EmbeddingNetwork
from model.transform import Transform
from training import checkpoint, trainer
from training.config import TrainingConfig
from training.datasets.labels import read
from training.datasets.pixels import look
from training.examples import Examples, of
from training.losses import SoftTriple
from training.run import Phase, Run
from training.trainer import Embed, Listener, Step, TooLittleMemory, TrainingDiverged, fit, running_mean

SMALL = TrainingConfig(
    backbone="efficientnet_lite0", image_size=48, train_size=32, first_size=None, dim=16, centers=2, batch=16, epochs=1,
    center_start="random", head_start="random", head_epochs=0, views=1, schedule="one_cycle", warm_up=0.1,
    optimizer="adamw", learning_rate=1e-3, ema=0.0, balance=0.0, clip=0.0, precision="f32",
)  # fmt: skip
STEPS = 4  # an epoch


@pytest.fixture(scope="module")
def examples(drawings: Path) -> Examples:
    part = read(drawings).split("train")
    return of(look(part, Transform(size=48)).pixels, part.labels, part.table["path"])


def weights(network: EmbeddingNetwork) -> dict[str, Tensor]:
    return network.state_dict()


def same(one: EmbeddingNetwork, other: EmbeddingNetwork) -> bool:
    return all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


class Heard(Listener):
    """What a run told. It goes on from ``state``, where there is one, and ends after ``last``."""

    def __init__(self, state: bytes | None = None, last: int | None = None) -> None:
        self.state, self.last = state, last
        self.steps: list[Step] = []
        self.epochs: list[dict[str, Any]] = []
        self.looks = 0
        self.states: dict[int, bytes] = {}
        self.needed: list[int] = []  # states that had to be kept

    def kept(self) -> dict[str, Any] | None:
        return None if self.state is None else torch.load(io.BytesIO(self.state), weights_only=True)

    def keep(self, state: Callable[[], dict[str, Any]], *, now: bool) -> None:
        kept = io.BytesIO()
        torch.save(state(), kept)
        self.states[state()["number"]] = kept.getvalue()
        if now:
            self.needed.append(state()["number"])

    def looked(self, images: int) -> None:
        self.looks += images

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def epoch(self, record: dict[str, Any]) -> None:
        self.epochs.append(record)

    def stop(self) -> bool:
        return bool(self.steps) and self.steps[-1].step == self.last


def liking(*scores: float) -> Callable[[Embed], dict[str, float]]:
    """A judge of its own mind: it gives these scores, one after the other."""
    mine = iter(scores)
    return lambda _: {"map@r": next(mine), "recall@1": 0.0}


def changed(**values: Any) -> TrainingConfig:
    return SMALL.model_copy(update=values)


# Steps


def test_the_loss_falls_and_every_step_is_told(examples: Examples) -> None:
    heard = Heard()
    trained = fit(examples, changed(epochs=4), listener=heard)
    told = [(step.step, step.steps, step.epoch, step.epochs) for step in heard.steps]
    assert told == [(number + 1, 4 * STEPS, number // STEPS + 1, 4) for number in range(4 * STEPS)]
    assert heard.steps[-1].loss < 0.9 * heard.steps[0].loss
    assert all(step.images_per_second > 0 for step in heard.steps)
    assert [step.seconds for step in heard.steps] == sorted({step.seconds for step in heard.steps})
    assert heard.needed == [4 * STEPS]  # the end is kept whatever the clock says
    assert [record["epoch"] for record in heard.epochs] == [1, 2, 3, 4] and trained.history == heard.epochs
    assert (trained.epoch, trained.record["epoch"]) == (4, 4)


def test_what_comes_out_embeds_pictures_as_unit_vectors(once: EmbeddingNetwork, examples: Examples) -> None:
    assert not any(module.training for module in once.modules())
    with torch.inference_mode():
        vectors = once(torch.from_numpy(examples.pixels))
    assert vectors.shape == (len(examples), SMALL.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(examples)))


@pytest.fixture(scope="module")
def once(examples: Examples) -> EmbeddingNetwork:
    return fit(examples, changed(seed=5)).network


def test_the_same_seed_gives_the_same_weights_and_another_does_not(once: EmbeddingNetwork, examples: Examples) -> None:
    torch.rand(7)  # what others draw meanwhile does not matter
    assert same(once, fit(examples, changed(seed=5)).network)
    other = fit(examples, changed(seed=6)).network
    assert not torch.equal(once.head.weight, other.head.weight)
    assert not torch.equal(once.backbone.conv_stem.weight, other.backbone.conv_stem.weight)


def test_the_mean_of_batch_norm_stays_and_every_weight_moves(once: EmbeddingNetwork) -> None:
    before, after = backbones.create(SMALL.backbone, pretrained=True), once.backbone
    for (name, old), new in zip(before.named_buffers(), after.buffers(), strict=True):
        assert torch.equal(old, new), name
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert not torch.equal(old, new), name


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": "adam"},
        {"schedule": "steps", "milestones": (0,)},
        {"clip": 0.01},
        {"balance": 1.0},
        {"precision": "bf16"},
        {"ema": 0.5},
        {"first_size": 16, "epochs": 2},
        {"head_epochs": 1},
        {"center_start": "data"},
        {"weight_decay": 0.5},
        {"center_learning_rate": 0.1},
    ],
    ids=lambda values: next(iter(values)),
)
def test_every_choice_changes_what_is_learnt(values: dict[str, Any], once: EmbeddingNetwork, examples: Examples) -> None:
    heard = Heard()
    trained = fit(examples, changed(seed=5, **values), listener=heard)
    assert not torch.equal(once.head.weight, trained.network.head.weight)
    assert np.isfinite(heard.steps[-1].loss)


def test_a_clipped_gradient_is_no_longer_than_asked(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []
    stepping = torch.optim.AdamW.step

    def step(optimizer: torch.optim.AdamW, *args: Any) -> Any:
        network = [parameter for group in optimizer.param_groups[:2] for parameter in group["params"]]
        lengths.append(torch.stack([parameter.grad.norm() for parameter in network]).norm().item())
        return stepping(optimizer, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    fit(examples, SMALL)
    free = list(lengths)
    lengths.clear()
    fit(examples, changed(clip=0.01))
    assert min(free) > 0.02 and lengths[0] == pytest.approx(0.01, rel=1e-3) and max(lengths) <= 0.0101


def test_rates_follow_their_schedule_and_are_told(examples: Examples) -> None:
    steps = fit(examples, changed(epochs=3, schedule="steps", milestones=(1, 2))).history
    assert [record["learning_rate"] for record in steps] == pytest.approx([1e-3, 1e-4, 1e-5])
    [cycle] = fit(examples, SMALL).history
    assert cycle["learning_rate"] == pytest.approx(0, abs=1e-9)


def test_pictures_grow_to_their_size(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    embed = EmbeddingNetwork.embed
    monkeypatch.setattr(EmbeddingNetwork, "embed", lambda self, images: seen.append(images.shape[-1]) or embed(self, images))
    history = fit(examples, changed(epochs=3, first_size=16)).history
    assert seen == [16] * STEPS + [16] * STEPS + [32] * STEPS
    assert [record["size"] for record in history] == seen[::STEPS]


def test_ending_early_is_the_start_of_the_same_schedule(examples: Examples) -> None:
    heard = Heard()
    early = fit(examples, changed(epochs=2), until=1, listener=heard)
    assert [step.step for step in heard.steps] == [1, 2, 3, 4] and early.epoch == 1
    whole = Heard()
    fit(examples, changed(epochs=2), listener=whole)
    assert [step.loss for step in heard.steps] == [step.loss for step in whole.steps[:STEPS]]
    assert heard.needed == [STEPS]
    state = torch.load(io.BytesIO(whole.states[STEPS]), weights_only=True)
    assert all(torch.equal(tensor, state["network"][name]) for name, tensor in weights(early.network).items())


def test_images_of_a_last_small_batch_count_as_much(examples: Examples) -> None:
    """60 examples in batches of 16: the last one holds 12."""
    heard = Heard()
    [record] = fit(examples, SMALL, listener=heard).history
    assert len(examples) == 60 and len(heard.steps) == STEPS
    assert record["images_per_second"] == pytest.approx(60 / record["seconds"], rel=0.01)


# The running mean


def test_the_running_mean_starts_quickly_and_then_follows_its_formula() -> None:
    update, mean = running_mean(0.5), [torch.tensor([1.0])]
    expected = 1.0
    for seen, value in enumerate([3.0, 5.0, -2.0, 8.0, 0.5, 4.0, 4.0, 9.0, 1.0, 2.0, 6.0], start=1):
        update(mean, [torch.tensor([value])], torch.tensor(seen))
        decay = min(0.5, (1 + seen) / (10 + seen))
        expected = decay * expected + (1 - decay) * value
        assert mean[0].item() == pytest.approx(expected, rel=1e-5)
    assert min(0.5, 12 / 21) == 0.5  # the end was at the full decay


def test_the_running_mean_is_what_is_judged_and_kept(examples: Examples) -> None:
    heard, judged = Heard(), []
    trained = fit(examples, changed(ema=0.9), listener=heard, validate=lambda embed: judged.append(embed(examples.pixels)) or {
        "map@r": float(len(judged)), "recall@1": 0.0})  # fmt: skip
    state = torch.load(io.BytesIO(heard.states[STEPS]), weights_only=True)
    for name, tensor in weights(trained.network).items():
        assert torch.equal(tensor, state["average"][f"module.{name}"])
    assert not torch.equal(trained.network.head.weight, state["network"]["head.weight"])
    with torch.inference_mode():
        now = trained.network(torch.from_numpy(examples.pixels)).numpy()
    np.testing.assert_allclose(judged[-1], now, atol=1e-5)


# Choice on validation classes


def test_the_best_epoch_is_returned(examples: Examples) -> None:
    heard = Heard()
    trained = fit(examples, changed(epochs=3), validate=liking(0.1, 0.9, 0.3, 0.4), listener=heard)
    assert [(record["epoch"], record["best"]) for record in trained.history] == [(0, True), (1, True), (2, False), (3, False)]
    assert [record["validation"]["map@r"] for record in trained.history] == [0.1, 0.9, 0.3, 0.4]
    assert (trained.epoch, trained.record["epoch"]) == (1, 1)
    state = torch.load(io.BytesIO(heard.states[STEPS]), weights_only=True)
    assert all(torch.equal(tensor, state["network"][name]) for name, tensor in weights(trained.network).items())


def test_a_tie_goes_to_the_earlier_epoch(examples: Examples) -> None:
    assert fit(examples, changed(epochs=2), validate=liking(0.1, 0.5, 0.5)).epoch == 1


def test_the_state_before_the_first_step_can_win(examples: Examples) -> None:
    trained = fit(examples, changed(epochs=1), validate=liking(0.9, 0.3))
    assert trained.epoch == 0 and trained.history[0]["loss"] is None
    before = backbones.create(SMALL.backbone, pretrained=True).state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.network.backbone.state_dict().items())


def test_judging_does_not_change_what_is_learnt(once: EmbeddingNetwork, examples: Examples) -> None:
    def validate(embed: Embed) -> dict[str, float]:
        vectors = embed(examples.pixels)
        torch.rand(3)
        return {"map@r": float(vectors[0, 0]) + 10 * len(seen.append(vectors) or seen), "recall@1": 0.0}

    seen: list[np.ndarray] = []
    assert same(once, fit(examples, changed(seed=5), validate=validate).network)
    assert [vectors.shape for vectors in seen] == [(60, 16)] * 2
    np.testing.assert_allclose(np.linalg.norm(seen[1], axis=1), 1, atol=1e-5)


# The head alone


def test_without_epochs_the_head_alone_learns(examples: Examples) -> None:
    heard = Heard()
    trained = fit(examples, changed(epochs=0, head_epochs=5, views=2), listener=heard, validate=liking(0.5))
    assert heard.steps == [] and heard.looks == 2 * len(examples)
    assert [record["epoch"] for record in trained.history] == [0] and trained.epoch == 0
    before = backbones.create(SMALL.backbone, pretrained=True).state_dict()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.network.backbone.state_dict().items())
    untrained = fit(examples, changed(epochs=0)).network
    assert not torch.equal(trained.network.head.weight, untrained.head.weight)
    assert same(trained.network, fit(examples, changed(epochs=0, head_epochs=5, views=2)).network)


def test_a_given_network_is_where_it_starts(once: EmbeddingNetwork, examples: Examples) -> None:
    start = EmbeddingNetwork(trainer.architecture(SMALL), pretrained=False)
    start.load_state_dict(once.state_dict())
    assert same(once, fit(examples, changed(epochs=0), start=start).network)
    heard = Heard()
    fit(examples, changed(seed=5, center_start="data"), start=start, listener=heard)
    assert heard.looks == len(examples)  # the new centres start where the network puts the pictures


# Going on


EVERYTHING = changed(
    epochs=3, first_size=16, ema=0.8, balance=0.5, clip=1.0, head_epochs=2, center_start="data", precision="bf16", seed=3
)


def pretended(embed: Embed) -> dict[str, float]:
    """Hangs on the network only, and goes up and down."""
    return {"map@r": float(embed(np.full((1, 48, 48, 3), 200, np.uint8))[0].sum() * 1e4 % 1), "recall@1": 0.0}


@pytest.fixture(scope="module")
def uninterrupted(examples: Examples) -> tuple[Heard, trainer.Trained]:
    heard = Heard()
    return heard, fit(examples, EVERYTHING, validate=pretended, listener=heard)


@pytest.mark.parametrize("number", range(1, 3 * STEPS + 1))
def test_from_every_step_on_it_ends_the_same(number: int, uninterrupted, examples: Examples) -> None:
    whole, expected = uninterrupted
    heard = Heard(whole.states[number])
    torch.manual_seed(number)
    found = fit(examples, EVERYTHING, validate=pretended, listener=heard)
    assert same(expected.network, found.network)
    assert [step.step for step in heard.steps] == list(range(number + 1, 3 * STEPS + 1))
    assert [step.loss for step in heard.steps] == [step.loss for step in whole.steps[number:]]
    assert heard.looks == 0
    clock = ("seconds", "images_per_second")
    without = [[{k: v for k, v in each.items() if k not in clock} for each in t.history] for t in (expected, found)]
    assert without[0] == without[1] and found.epoch == expected.epoch


def test_the_run_above_has_all_that_a_state_must_carry(uninterrupted) -> None:
    whole, trained = uninterrupted
    state = torch.load(io.BytesIO(whole.states[5]), weights_only=True)
    assert state["average"] and state["best"] and state["optimizer"]["state"] and len(state["history"]) == 2
    assert len({record["size"] for record in trained.history}) == 2
    assert any(not record["best"] for record in trained.history)


def test_whoever_stops_a_run_finds_its_state(uninterrupted, examples: Examples) -> None:
    whole, _ = uninterrupted
    heard = Heard(last=3)
    with pytest.raises(KeyboardInterrupt):
        fit(examples, EVERYTHING, validate=pretended, listener=heard)
    assert heard.needed == [3] and len(heard.steps) == 3
    found, expected = (torch.load(io.BytesIO(each.states[3]), weights_only=True) for each in (heard, whole))
    assert all(torch.equal(tensor, found["network"][name]) for name, tensor in expected["network"].items())


# What ends it


def test_an_absurd_learning_rate_is_told_with_what_to_do(examples: Examples) -> None:
    with pytest.raises(TrainingDiverged) as caught:
        fit(examples, changed(epochs=3, learning_rate=1e12, head_learning_rate=1e12, warm_up=0.01))
    assert "Train again with a tenth of the learning rate: --set learning_rate=1e+11." in str(caught.value)


def test_a_loss_that_is_no_number_is_told_with_step_epoch_and_files(
    examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "new")
    run.begin({}, resume=False)
    monkeypatch.setattr("training.run.KEEP_EVERY", -1.0)
    monkeypatch.setattr(SoftTriple, "forward", failing_after(STEPS + 1, SoftTriple.forward))
    with pytest.raises(TrainingDiverged) as caught:
        fit(examples, changed(epochs=2), listener=Phase(run, "train"))
    said = str(caught.value)
    assert said.startswith("The loss became nan at step 6 (epoch 2), on the pictures ")
    named = said.split("on the pictures ")[1].split(" and 11 more")[0].split(", ")
    assert len(set(named)) == 5 and set(named) <= set(examples.files)
    state = checkpoint.read(run.folder / "train.checkpoint")
    assert state is not None and state["number"] == STEPS + 1
    assert all(tensor.isfinite().all() for tensor in state["network"].values())


def failing_after(steps: int, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    calls: Iterator[int] = iter(range(1_000))
    return lambda *args: forward(*args) * (float("nan") if next(calls) >= steps else 1.0)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")],
)
def test_too_little_memory_is_told_with_what_to_do(
    error: Exception, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(trainer, "set_rate", fail)
    with pytest.raises(TooLittleMemory, match=r"smaller batches \(--set batch=8\)"):
        fit(examples, SMALL)


def test_other_errors_are_not_taken_for_a_lack_of_memory(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("sizes differ")

    monkeypatch.setattr(trainer, "set_rate", fail)
    with pytest.raises(RuntimeError, match="sizes differ"):
        fit(examples, SMALL)
