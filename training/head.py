"""Features of a frozen backbone in, a trained linear head and trained centres out.

The first part of every training, and all of it where ``epochs`` is 0. Features are computed once, so an epoch takes a second.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from model.network import EmbeddingNetwork

from .augment import draws
from .centers import from_data
from .config import TrainingConfig
from .examples import Examples
from .losses import Loss
from .method import Order, shuffled
from .optimizer import optimizer_of, set_rate
from .processes import Processes
from .sampler import batches, order
from .schedule import rate

_BATCH = 64
_MOST = 500_000
_VIEWS = 2**31  # views of pictures draw other random numbers than the epochs do


def seen_at_first(examples: Examples, seed: int) -> Examples:
    """All of them, or ``_MOST`` of them at random: enough for a start, and features of more would fill the memory."""
    if len(examples) <= _MOST:
        return examples
    chosen = np.sort(order(examples.labels, seed, _VIEWS)[:_MOST])
    files = [examples.files[place] for place in chosen]
    return replace(examples, rows=examples.rows[chosen], labels=examples.labels[chosen], files=files)


def views(
    network: EmbeddingNetwork,
    examples: Examples,
    config: TrainingConfig,
    processes: Processes,
    advance: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """float16 [V, N, F]: what the backbone makes of ``config.views`` augmented versions of each picture."""
    found = []
    for view in range(config.views):
        changes = draws(config.seed, _VIEWS + view, len(examples))
        rows = np.arange(len(examples))[processes.part(len(examples))]
        parts = []
        for chosen in np.split(rows, range(_BATCH, len(rows), _BATCH)):
            images = examples.batch(chosen, changes, config.augmentation, config.train_size, processes.device)
            with torch.inference_mode(), processes.autocast(config.precision):
                parts.append(network.features(images).half().cpu())
            advance(len(chosen))
        found.append(processes.together(torch.cat(parts)))
    return torch.stack(found).clone()  # not an inference tensor any more


def learn_on_features(
    features: Tensor,
    labels: np.ndarray,
    head: nn.Module,
    loss_of: Loss,
    config: TrainingConfig,
    batch: int | None = None,
    order: Order = shuffled,
) -> None:
    """All that head and centres go through on ``features`` [V, N, F], in place: where they start, then ``fit_head``."""
    if config.head_start == "pca":
        assert isinstance(head, nn.Linear)  # only bundles of a backbone as it is have none
        start_head(features, head)
    if config.center_start == "data":
        start_centers(features, labels, head, loss_of, config.seed)
    fit_head(features, labels, head, loss_of, config, batch, order)


def fit_head(
    features: Tensor,
    labels: np.ndarray,
    head: nn.Module,
    loss_of: Loss,
    config: TrainingConfig,
    batch: int | None = None,
    order: Order = shuffled,
) -> None:
    """Train ``head`` and ``loss_of`` in place on ``features`` [V, N, F]; every epoch takes another view.

    ``batch``: that of all processes together, each of which does the same here."""
    device = next(head.parameters()).device
    targets = torch.from_numpy(labels).to(device)
    optimizer = optimizer_of([(head, config.head_learning_rate)], loss_of, config)
    schedule = config.model_copy(update={"epochs": config.head_epochs, "schedule": "one_cycle"})
    done = 0
    for epoch in range(config.head_epochs):
        parts = batches(order(labels, _VIEWS + epoch, config), batch or config.batch)
        for rows in parts:
            set_rate(optimizer, rate(schedule, done, len(parts)))
            chosen = torch.from_numpy(rows)
            loss = loss_of(head(features[epoch % len(features)][chosen].to(device).float()), targets[chosen.to(device)])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            done += 1


def start_head(features: Tensor, head: nn.Linear) -> None:
    """The principal axes of the features' first view, each divided by the square root of its length: half-way to whitening.

    From the first step on, a score is about that of the backbone as it is, or better, where random axes would blur it.
    """
    with torch.no_grad():
        unit = nn.functional.normalize(features[0].to(head.weight.device).double(), dim=1)
        # NumPy's decomposition, because torch's does not always end where there are fewer pictures than features.
        strengths, axes = map(torch.from_numpy, np.linalg.eigh((unit.T @ unit).cpu().numpy()))  # ascending squared lengths
        best = axes.T.flip(0)[: len(head.weight)]
        lengths = strengths.flip(0)[: len(best)].clamp_min(1e-4 * float(strengths[-1])).sqrt()
        rows = best / lengths.sqrt()[:, None]
        head.weight[: len(rows)] = rows * (head.weight.norm().cpu() / rows.norm())


def start_centers(features: Tensor, labels: np.ndarray, head: nn.Module, loss_of: Loss, seed: int) -> None:
    """Put the centres where the classes' images are: k-means of each class, on the first view."""
    if loss_of.centers is None:
        return
    with torch.no_grad():
        embeddings = head(features[0].to(loss_of.centers.device).float())
        classes, centers, _ = loss_of.centers.shape
        loss_of.centers.copy_(from_data(embeddings, torch.from_numpy(labels).to(embeddings.device), classes, centers, seed))
