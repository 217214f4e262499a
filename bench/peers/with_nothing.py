"""The backbone as it is: what everybody starts from."""

# Written as its user would, without types.
# mypy: ignore-errors
import torch
from PIL import Image
from torchvision import transforms

from bench.peers import given

asked = given.asked()
transform = transforms.Compose(
    [
        transforms.Resize((given.SIZE, given.SIZE)),
        transforms.ToTensor(),
        transforms.Normalize(mean=given.MEAN, std=given.STD),
    ]
)
trunk = given.Trunk().eval()
rows = asked.rows(asked.embed)
found = []
with torch.inference_mode():
    for start in range(0, len(rows), given.BATCH):
        pictures = [Image.open(row["path"]).convert("RGB") for row in rows[start : start + given.BATCH]]
        found.append(trunk(torch.stack([transform(picture) for picture in pictures])))
asked.write(torch.cat(found))
