"""One process of the demonstration: train the net, save it in each way, and print what it is worth."""

from __future__ import annotations

import json
import platform

import torch
from lab import digits, measure
from nets import Net
from torch.nn.functional import cross_entropy

import torchkeep

TEST = 500
EPOCHS = 10

images, labels = digits()
unseen = images[:TEST], labels[:TEST]
images, labels = images[TEST:], labels[TEST:]

torch.manual_seed(0)
model = Net(width=24)
optimizer = torch.optim.Adam(model.parameters())
for _ in range(EPOCHS):
    for batch in torch.randperm(len(labels)).split(64):
        optimizer.zero_grad()
        cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()

torch.save(model.state_dict(), "weights.pt")
torch.save(model, "model.pt")
torchkeep.save(model, "model.safetensors")
torchkeep.save(model, "program.safetensors", example=(images[:4],))
torch.save(unseen, "unseen.pt")
torch.save((images, labels), "seen.pt")

versions = f"Python {platform.python_version()}, torch {torch.__version__}, torchkeep {torchkeep.__version__}"
told = {"versions": versions, "trained_on": len(labels), "tested_on": TEST}
print(json.dumps(told | measure(model, *unseen)))
