"""Where tensors go: the device that a caller names, and what this machine can do at all.

Any word that torch knows names a device, also one of an accelerator that came with another package. Whether it is
there is tried out before anything is read.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from ..errors import DeviceError, LoadError, SaveError, brief_text


def device_of(device: Any, map_location: Any) -> torch.device:
    """The one device that both words name.

    Raises:
        TypeError: it is not a device, or the two differ.
        DeviceError: torch does not know it, or it is not there.
    """
    places = [_known(word) for word in (device, map_location) if word is not None]
    if len(set(places)) > 1:
        raise TypeError(f"device={device!r} and map_location={map_location!r} are two words for one thing")
    if not places:
        return torch.device("cpu")
    [place] = set(places)
    try:
        torch.empty(1, device=place)
    except Exception as error:  # each backend has its own: AssertionError, ImportError, RuntimeError ...
        raise DeviceError(
            f"there is no {str(place)!r} here: {_first_line(error)}. Nothing was loaded. Name a device that this torch "
            'and this machine have, such as device="cpu".'
        ) from error
    return place


def _known(word: Any) -> torch.device:
    if isinstance(word, bool) or not isinstance(word, str | int | torch.device):
        raise TypeError(
            f"device is one device, such as 'cpu' or 'cuda:0', not {type(word).__name__}: tensors come back on the "
            "CPU whatever device they were saved from, so there is nothing to map"
        )
    try:
        return torch.device(word)
    except RuntimeError as error:
        raise DeviceError(
            f"torch knows no device {word!r}: {_first_line(error)}. Nothing was loaded. A device that another package "
            "brings is known once that package is imported."
        ) from error


def move(tensor: torch.Tensor, device: torch.device, *, name: str) -> torch.Tensor:
    """A tensor on another device.

    Raises:
        DeviceError: it does not go there: no memory, or a dtype that the device does not have.
    """
    try:
        return tensor.to(device)
    except Exception as error:  # as above
        raise DeviceError(
            f"{name!r} of {tensor.nbytes} bytes of {tensor.dtype} cannot go to {str(device)!r}: {_first_line(error)}. "
            "Nothing was loaded. Load it on the CPU, or with a dtype= that the device has, or by parts with key=."
        ) from error


def require_little_endian(error: type[SaveError | LoadError], unchanged: str) -> None:
    """Refuse a machine whose memory is not what a file holds: the bytes move as they are.

    Raises:
        SaveError, LoadError: as the caller asked.
    """
    if sys.byteorder != "little":
        raise error(
            "this machine is big-endian: it has the bytes of a number in the opposite order to a file. "
            f"{unchanged} Use a little-endian machine; torchkeep.inspect works here, too."
        )


def _first_line(error: Exception) -> str:
    return brief_text(str(error).strip().partition("\n")[0]).rstrip(".") or type(error).__name__
