"""A small network that looks at whole volumes: PyTorch on a processor."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SIDE = (8, 16, 16)  # what every volume is brought to: its brightest parts are kept
BODY_HU, SCALE_HU, WINDOW = -300.0, 20.0, 5
EPOCHS, BATCH, RATE = 30, 8, 0.02


class Network(nn.Module):
    """Two convolutions and one question: is the brightest answer bright enough?"""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool3d(2),
            nn.Conv3d(4, 8, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool3d(1),
        )
        self.decide = nn.Linear(8, 1)

    def forward(self, volumes):
        return self.decide(self.features(volumes).flatten(1)).squeeze(1)


def predict(cohort, weights, config):
    """Return each case's probability of a finding; cases that cannot be read are skipped."""
    network = loaded(weights).eval()
    with torch.no_grad():
        return {
            case.name: float(torch.sigmoid(network(prepared(volume.values)[None]))[0])
            for case, volume in cohort.volumes()
        }


def train(cohort, weights, config):
    """Return the weights after some epochs on this hospital's cases."""
    import radfed_job

    read = [(prepared(volume.values), case.label) for case, volume in cohort.volumes()]
    volumes = torch.stack([volume for volume, _ in read])
    truth = torch.tensor([float(label) for _, label in read])
    torch.manual_seed(config["round"])
    network = loaded(weights).train()
    steps = torch.optim.Adam(network.parameters(), RATE)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(truth)).split(BATCH):
            steps.zero_grad()
            loss = functional.binary_cross_entropy_with_logits(
                network(volumes[batch]), truth[batch]
            )
            loss.backward()
            steps.step()
    with torch.no_grad():
        last = functional.binary_cross_entropy_with_logits(network(volumes), truth)
    radfed_job.report("loss", min(5.0, float(last)))
    return {name: values.detach().numpy() for name, values in network.state_dict().items()}


def loaded(weights):
    """Return the network with these weights; with its own first ones where all are zero."""
    torch.manual_seed(0)  # the same at every hospital: the first round's updates can be averaged
    network = Network()
    if any(values.any() for values in weights.values()):
        network.load_state_dict({n: torch.from_numpy(np.array(v)) for n, v in weights.items()})
    return network


def prepared(volume):
    """Bring a volume in Hounsfield units to one shape: how far each part stands out of the body."""
    values = torch.from_numpy(volume)
    body = values > BODY_HU
    centred = torch.where(body, values - values[body].median(), 0.0) / SCALE_HU
    smooth = functional.avg_pool2d(centred, WINDOW, stride=1)  # what is left of noise is small
    return functional.adaptive_max_pool3d(smooth.clamp(-1.0, 5.0)[None], SIDE)
