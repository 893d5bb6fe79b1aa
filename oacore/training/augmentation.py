"""Pictures as networks see them, and moved together with their landmarks."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def standardised(images: torch.Tensor) -> torch.Tensor:
    """Pictures as networks see them: (batch, H, W) of uint8 to (batch, 1, H, W), mean 0, SD 1."""
    x = images.float()
    mean, sd = x.mean(dim=(1, 2), keepdim=True), x.std(dim=(1, 2), keepdim=True)
    return ((x - mean) / sd.clamp_min(1e-6)).unsqueeze(1)


def moved(
    images: torch.Tensor,
    points: torch.Tensor,
    shift: torch.Tensor,
    turn: torch.Tensor,
    scale: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift, turn and scale pictures and their landmarks by the same maps, one each.

    Parameters
    ----------
    images : Tensor, (batch, 1, H, W)
        Sampled bilinearly; what comes from beyond the edge is the edge's.
    points : Tensor, (batch, points, 2)
        x and y in pixels; there may be none.
    shift : Tensor, (batch, 2)
        Pixels along x and y.
    turn : Tensor, (batch,)
        Degrees, from x towards y, about the middle of the picture.
    scale : Tensor, (batch,)
        Above 1 the picture grows.
    """
    height, width = images.shape[2:]
    middle = images.new_tensor([(width - 1) / 2, (height - 1) / 2])
    cos, sin = torch.cos(torch.deg2rad(turn)), torch.sin(torch.deg2rad(turn))
    # Rows that are multiplied from the right, so this is the rotation's transpose.
    turned = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)  # (b, 2, 2)
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device, dtype=images.dtype),
        torch.arange(width, device=images.device, dtype=images.dtype),
        indexing="ij",
    )
    cells = torch.stack([x, y], dim=-1).view(1, -1, 2)  # (1, H W, 2)
    source = (cells - middle - shift[:, None]) @ turned.transpose(1, 2) / scale[:, None, None]
    grid = (source + middle) / middle.clamp_min(0.5) - 1  # -1 and 1 are the outermost centres
    pictures = F.grid_sample(
        images, grid.view(-1, height, width, 2), padding_mode="border", align_corners=True
    )
    points = (points - middle) @ turned * scale[:, None, None] + middle + shift[:, None]
    return pictures, points
