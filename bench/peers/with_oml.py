"""open-metric-learning, as its README shows training on images and a network of one's own.

Documented there: Adam with 1e-4, all triplets with a margin of 0.1, the transform of the test images without augmentation. Its
batches of 2 classes with 2 images are for a set of a dozen pictures; here they are 8 with 4, 32 as elsewhere. Its recipe for
Stanford Online Products has vectors of length 1, the hardest triplets, a margin of 0.15, random crops and flips, and processes
that read ahead: ``normalise=1 hard=1 margin=0.15 crops=1 workers=2``.
"""

# Written as its user would, without types.
# mypy: ignore-errors
import pandas as pd
import torch
from oml.datasets import ImageLabeledDataset, ImageQueryGalleryLabeledDataset
from oml.inference import inference
from oml.interfaces.models import IExtractor
from oml.losses import TripletLossWithMiner
from oml.miners import AllTripletsMiner, HardTripletsMiner
from oml.samplers import BalanceSampler
from oml.transforms.images.torchvision import get_augs_hypvit, get_normalisation_resize_hypvit

from bench.peers import given

asked = given.asked(rate=1e-4, margin=0.1, hard=0, normalise=0, crops=0, per_class=4, workers=0)
settings = asked.settings


class Extractor(IExtractor):
    def __init__(self):
        super().__init__()
        self.trunk = given.Trunk()
        self.head = torch.nn.Linear(given.FEATURES, given.DIM)

    def forward(self, images):
        vectors = self.head(self.trunk(images))
        return torch.nn.functional.normalize(vectors) if settings.normalise else vectors

    @property
    def feat_dim(self):
        return given.DIM


def table(splits):
    rows = pd.DataFrame(asked.rows(splits))[["path", "label"]]
    return rows.assign(label=pd.factorize(rows["label"])[0], is_query=True, is_gallery=True)


colours = {"mean": given.MEAN, "std": given.STD}
transform = get_normalisation_resize_hypvit(im_size=given.SIZE, crop_size=given.SIZE, **colours)
augmented = get_augs_hypvit(im_size=given.SIZE, **colours) if settings.crops else transform
train_set = ImageLabeledDataset(table(asked.learn), transform=augmented)
test_set = ImageQueryGalleryLabeledDataset(table(asked.embed), transform=transform)

model = Extractor().train()
optimizer = torch.optim.Adam(model.parameters(), lr=settings.rate)
criterion = TripletLossWithMiner(settings.margin, HardTripletsMiner() if settings.hard else AllTripletsMiner())
labels, per_class = train_set.get_labels(), settings.per_class
sampler = BalanceSampler(labels, n_labels=given.BATCH // per_class, n_instances=per_class)
loader = torch.utils.data.DataLoader(train_set, batch_sampler=sampler, num_workers=settings.workers)

if __name__ == "__main__":
    while asked.clock.goes_on():
        for batch in loader:
            loss = criterion(model(batch["input_tensors"]), batch["labels"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if not asked.clock.goes_on(len(batch["labels"])):
                break
    asked.write(inference(model, test_set, batch_size=given.BATCH))
