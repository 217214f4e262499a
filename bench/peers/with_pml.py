"""pytorch-metric-learning's own trainer, as its notebook MetricLossOnly and its pages on trainers and testers show it.

Documented there: Adam with 1e-5 for the trunk and 1e-4 for the embedder and a weight decay of 1e-4, triplet margin loss of 0.1,
multi-similarity miner of 0.1, 4 images a class, batches of 32, random crops of 16 % and more, flips. That is version 2; the
release candidate of version 3 leaves the training loop to its user.
"""

# Written as its user would, without types.
# mypy: ignore-errors
import torch
from PIL import Image
from pytorch_metric_learning import losses, miners, samplers, testers, trainers
from torchvision import transforms

from bench.peers import given

asked = given.asked(trunk_rate=1e-5, embedder_rate=1e-4, loss="triplet", margin=0.1, per_class=4, freeze_norm=0)
settings = asked.settings


class Pictures(torch.utils.data.Dataset):
    def __init__(self, rows, transform):
        self.rows, self.transform = rows, transform
        names = sorted({row["label"] for row in rows})
        self.targets = [names.index(row["label"]) for row in rows]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        picture = Image.open(self.rows[index]["path"]).convert("RGB")
        return self.transform(picture), self.targets[index]


train_transform = transforms.Compose(
    [
        transforms.Resize(given.SIZE),
        transforms.RandomResizedCrop(scale=(0.16, 1), ratio=(0.75, 1.33), size=given.SIZE),
        transforms.RandomHorizontalFlip(0.5),
        transforms.ToTensor(),
        transforms.Normalize(mean=given.MEAN, std=given.STD),
    ]
)
test_transform = transforms.Compose(
    [
        transforms.Resize((given.SIZE, given.SIZE)),
        transforms.ToTensor(),
        transforms.Normalize(mean=given.MEAN, std=given.STD),
    ]
)
train_set = Pictures(asked.rows(asked.learn), train_transform)
test_set = Pictures(asked.rows(asked.embed), test_transform)

trunk = given.Trunk()
embedder = torch.nn.Linear(given.FEATURES, given.DIM)
triplet = losses.TripletMarginLoss(margin=settings.margin)
trainer = trainers.MetricLossOnly(
    models={"trunk": trunk, "embedder": embedder},
    optimizers={
        "trunk_optimizer": torch.optim.Adam(trunk.parameters(), lr=settings.trunk_rate, weight_decay=1e-4),
        "embedder_optimizer": torch.optim.Adam(embedder.parameters(), lr=settings.embedder_rate, weight_decay=1e-4),
    },
    batch_size=given.BATCH,
    loss_funcs={"metric_loss": triplet if settings.loss == "triplet" else losses.MultiSimilarityLoss()},
    mining_funcs={"tuple_miner": miners.MultiSimilarityMiner(epsilon=0.1)},
    dataset=train_set,
    sampler=samplers.MPerClassSampler(train_set.targets, m=settings.per_class, length_before_new_iter=len(train_set)),
    freeze_trunk_batchnorm=bool(settings.freeze_norm),
    iterations_per_epoch=10,
    end_of_epoch_hook=lambda trainer: asked.clock.goes_on(10 * given.BATCH),
)

if __name__ == "__main__":
    asked.clock.goes_on()
    trainer.train(num_epochs=1_000_000)
    tester = testers.GlobalEmbeddingSpaceTester()
    vectors, _ = tester.get_all_embeddings(test_set, trunk, embedder, return_as_numpy=True)
    asked.write(vectors)
