"""The networks of nucseg, their loss and a step of training, in plain torch, for nuclei_gpu.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nucseg.config import INSTANCE_MAPS, OFFSET_RANGE

# As in nucseg.models.losses, which needs Keras.
OFFSET_WEIGHT = 0.1
EPSILON = 1e-7
# Share of the average of the weights over the steps that a step leaves of it.
AVERAGED = 0.9995
# Axes of Keras's kernels, in the order that torch has them.
AXES = {"Conv2D": (3, 2, 0, 1), "DepthwiseConv2D": (2, 3, 0, 1), "Conv2DTranspose": (3, 2, 0, 1)}


class Network(nn.Module):
    """A network of the layers that `nucseg.models.unet` uses."""

    def __init__(self, layers: list[dict[str, Any]], weights: dict[str, list[Any]]) -> None:
        super().__init__()
        self.layers = layers
        for layer in layers:
            held = [torch.tensor(array) for array in weights.get(layer["name"], [])]
            if layer["kind"] in AXES:
                held[0] = held[0].permute(AXES[layer["kind"]])
                held[0] = held[0].contiguous(memory_format=torch.channels_last)
            for place, tensor in enumerate(held):
                name = f"{layer['name']}_{place}"
                if layer["kind"] == "BatchNormalization" and place >= 2:
                    self.register_buffer(name, tensor)
                else:
                    self.register_parameter(name, nn.Parameter(tensor))

    def weights(self) -> dict[str, list[Any]]:
        """Give the weights of each layer as Keras holds them."""
        held: dict[str, list[Any]] = {}
        for layer in self.layers:
            arrays = [tensor.detach().cpu().numpy() for tensor in self._of(layer)]
            if layer["kind"] in AXES:
                arrays[0] = arrays[0].transpose(np.argsort(AXES[layer["kind"]]))
            if arrays:
                held[layer["name"]] = arrays
        return held

    def _of(self, layer: dict[str, Any]) -> list[Tensor]:
        names = (f"{layer['name']}_{place}" for place in range(4))
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def forward(self, images: Tensor) -> Tensor:
        """Compute maps, shape (N, C, H, W), float32, of images, shape (N, 3, H, W)."""
        made: dict[str, Tensor] = {}
        for layer in self.layers:
            given = [made[name] for name in layer["inputs"]]
            # The input layer alone takes nothing in.
            made[layer["name"]] = (
                _compute(layer, self._of(layer), given, self.training) if given else images
            )
        return made[self.layers[-1]["name"]]


def _compute(
    layer: dict[str, Any], held: list[Tensor], given: list[Tensor], learns: bool
) -> Tensor:
    """Compute what a layer makes of its inputs."""
    x = given[0]
    match layer["kind"]:
        case "Rescaling":
            x = x * layer["scale"] + layer["offset"]
        case "ZeroPadding2D":
            (top, bottom), (left, right) = layer["padding"]
            x = functional.pad(x, (left, right, top, bottom))
        case "Conv2D" | "DepthwiseConv2D":
            x = _padded(x, held[0].shape[-1], layer)
            groups = x.shape[1] if layer["kind"] == "DepthwiseConv2D" else 1
            x = functional.conv2d(x, *held, stride=tuple(layer["strides"]), groups=groups)
        case "BatchNormalization":
            scale, shift, mean, variance = held
            momentum = 1 - layer["momentum"]
            x = functional.batch_norm(
                x, mean, variance, scale, shift, learns, momentum, layer["epsilon"]
            )
        case "ReLU":
            x = functional.relu6(x) if layer["max_value"] == 6 else functional.relu(x)
        case "Add":
            x = given[0] + given[1]
        case "Concatenate":
            x = torch.cat(given, dim=1)
        case "UpSampling2D":
            # In half precision its gradient would be slow.
            x = functional.interpolate(x.float(), scale_factor=2, mode="bilinear").to(x.dtype)
        case "Conv2DTranspose":
            with torch.autocast(x.device.type, enabled=False):
                x = functional.conv_transpose2d(x.float(), *held, stride=tuple(layer["strides"]))
        case _:
            raise ValueError(f"No layer of kind {layer['kind']} is known here.")
    return torch.sigmoid(x) if layer.get("activation") == "sigmoid" else x


def _padded(x: Tensor, kernel: int, layer: dict[str, Any]) -> Tensor:
    """Pad as Keras does, more at the end where it cannot be the same on both sides."""
    if layer["padding"] == "valid":
        return x
    stride = layer["strides"][0]
    whole = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]]
    (top, bottom), (left, right) = ((each // 2, each - each // 2) for each in whole)
    return functional.pad(x, (left, right, top, bottom)) if any(whole) else x


def instance_loss(truth: Tensor, maps: Tensor) -> Tensor:
    """Compute `nucseg.models.losses.instance_loss` of all maps, the mean over images.

    Truth has the shape (N, C + 1, H, W), maps have (N, C, H, W).
    """
    inverse_radius, total = truth[:, -1:], 0.0
    known = ~truth[:, :-1].isnan()
    right, weight = truth[:, :-1].nan_to_num(), known.float()
    axes = (1, 2, 3)
    for place, name in enumerate(INSTANCE_MAPS):
        one, given = right[:, place : place + 1], maps[:, place : place + 1]
        there = weight[:, place : place + 1]
        error = (one - given).abs() * there
        if name.endswith("offset"):
            pixels = (error * inverse_radius).sum(axes) * (2 * OFFSET_RANGE)
            total = total + OFFSET_WEIGHT * pixels / (right[:, :1].sum(axes) + 1)
        elif name == "distance":
            total = total + (error * (right[:, :1] * 4 + 1)).mean(axes)
        else:
            given = given * there
            sure = given.clamp(EPSILON, 1 - EPSILON)
            pixels = -(one * sure.log() + (1 - one) * (1 - sure).log()).mean(axes)
            both = one.sum(axes) + given.sum(axes)
            total = total + pixels + 1 - (2 * (one * given).sum(axes) + 1) / (both + 1)
    return total.mean()


class Trainer:
    """A network and how it learns, on a GPU or, for a try, on the processor.

    Parameters
    ----------
    network : Network
    shape : tuple of int
        (N, H, W, channels) of the batches, float16: an image, the maps, the inverse radius.
    weight_decay : float
    device : str
    half : bool
        Whether to compute in bfloat16 where that costs no accuracy.
    """

    def __init__(
        self,
        network: Network,
        shape: tuple[int, ...],
        weight_decay: float,
        device: str,
        *,
        half: bool,
    ) -> None:
        self._half = half
        self._device = torch.device(device)
        self._gpu = self._device.type == "cuda"
        self._network = network.to(self._device).train()
        # Every layer is float32, batch statistics too.
        self._weights = list(network.state_dict(keep_vars=True).values())
        self._averages = [weights.detach().clone() for weights in self._weights]
        self._rate = torch.tensor(0.0, device=self._device)
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=self._rate, eps=1e-7, weight_decay=weight_decay,
            fused=self._gpu, capturable=self._gpu,
        )  # fmt: skip
        self._batch = torch.zeros(shape, dtype=torch.float16, device=self._device)
        # Sum of the losses of all steps since it was set to 0.
        self.loss = torch.zeros((), device=self._device)
        if self._gpu:
            torch.backends.cudnn.benchmark = True
            self._coming = torch.zeros_like(self._batch)
            self._copying = torch.cuda.Stream()
            self._graph = torch.cuda.CUDAGraph()

    def record(self, batches: Iterator[Any]) -> None:
        """Record a step as a CUDA graph, which spares calling its thousand kernels one by one."""
        if not self._gpu:
            return
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(5):
                self._batch.copy_(torch.from_numpy(next(batches)))
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph):
            self._step()
        self.loss.zero_()

    def learn(self, batch: Any, rate: float) -> None:
        """Take one step; on a GPU it goes on when this returns, while the next batch is copied."""
        self._rate.fill_(rate)
        if not self._gpu:
            self._batch.copy_(torch.from_numpy(batch))
            self._step()
            return
        with torch.cuda.stream(self._copying):
            self._coming.copy_(torch.from_numpy(batch))
        torch.cuda.current_stream().wait_stream(self._copying)
        self._batch.copy_(self._coming)
        self._copying.wait_stream(torch.cuda.current_stream())
        self._graph.replay()

    def _step(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        crops = self._batch.permute(0, 3, 1, 2).float()
        images = crops[:, :3].contiguous(memory_format=torch.channels_last)
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._half, cache_enabled=False
        ):
            maps = self._network(images)
        loss = instance_loss(crops[:, 3:], maps.float())
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self._averages, self._weights, 1 - AVERAGED)
        self.loss.add_(loss.detach())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the network has the average of its weights over the last thousands of steps."""
        with torch.no_grad():
            now = [weights.detach().clone() for weights in self._weights]
            torch._foreach_copy_(self._weights, self._averages)
            yield
            torch._foreach_copy_(self._weights, now)
