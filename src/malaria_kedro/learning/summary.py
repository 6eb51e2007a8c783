"""The layers of a network as a table."""

from __future__ import annotations

import torch
from torch import nn

from malaria_kedro.learning.network import build_network


def summarise_network(arch: str, dropout: float, image_size: int, batch_size: int) -> str:
    """Return a text table: layer, kind, output shape, number of parameters; totals below.

    Args:
        arch: architecture.
        dropout: of the head.
        image_size: side of the input, px.
        batch_size: shown as the first dimension; the network itself is run on two images.
    """
    network = build_network(arch, dropout).eval()
    rows: list[tuple[str, str, str, int]] = []
    hooks = [
        module.register_forward_hook(_note(name, batch_size, rows))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    with torch.inference_mode():
        network(torch.zeros(2, 3, image_size, image_size))
    for hook in hooks:
        hook.remove()
    total = sum(parameter.numel() for parameter in network.parameters())
    head = sum(parameter.numel() for parameter in network[1].parameters())
    lines = [
        f"{arch}: input {batch_size} × 3 × {image_size} × {image_size}",
        f"{'layer':<24}{'kind':<22}{'output':<24}{'parameters':>12}",
    ]
    lines += [f"{name:<24}{kind:<22}{shape:<24}{count:>12,}" for name, kind, shape, count in rows]
    lines += [f"{total:,} parameters: {total - head:,} in the body (0), {head:,} in the head (1)"]
    return "\n".join(lines) + "\n"


def _note(name: str, batch_size: int, rows: list[tuple[str, str, str, int]]):
    def hook(module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        shape = " × ".join(str(side) for side in (batch_size, *output.shape[1:]))
        rows.append((name, type(module).__name__, shape, sum(p.numel() for p in module.parameters())))

    return hook
