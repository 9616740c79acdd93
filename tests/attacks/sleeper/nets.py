"""What a file would like to import."""

from torch import nn


class Net(nn.Module):
    pass
