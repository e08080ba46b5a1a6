"""Shapes of detectors with random weights, to be timed: BatchNorm folded (convolutions with a bias), no training.

Lat and LatMs are this project's own (docs/detection.md). FastestDet is written here from its public description
(a ShuffleNetV2 of 24, 48, 96, 192 channels, one fused scale of 96, depthwise 5x5 heads; 80 classes, 352 pixels);
its count of parameters is checked against the published 240 thousand.
"""

import torch
from torch import nn


def conv(inputs, outputs, kernel=1, stride=1, groups=1, act=None):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups)]
    return nn.Sequential(*layers, act()) if act else layers[0]


class Attention(nn.Module):
    """Bidirectional hadamard_exp, then a norm that stays a scale and a shift."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads, self.width = heads, channels // heads
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.proj = nn.Conv2d(channels, channels, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x):
        n, c, rows, columns = x.shape
        q, k, v = self.qkv(x).reshape(n, 3, self.heads, self.width, rows * columns).unbind(1)
        phi, psi = torch.exp(q / self.width**0.5), torch.exp(k / self.width**0.5)
        state = psi @ v.transpose(2, 3)
        mass = psi.sum(3, keepdim=True)
        y = (state.transpose(2, 3) @ phi) / (mass.transpose(2, 3) @ phi)
        return (x + self.proj(y.reshape(n, c, rows, columns))) * self.scale + self.shift


class Lat(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        relu = nn.ReLU
        self.backbone = nn.Sequential(
            conv(3, 16, 3, 2, act=relu), conv(16, 32, 3, 2, act=relu), conv(32, 64, 3, 2, act=relu),
            conv(64, 64, 3, act=relu), conv(64, 128, 3, 2, act=relu), conv(128, 128, 3, act=relu))
        self.neck = nn.Sequential(conv(128, 64), Attention(64, 4), conv(64, 128))
        self.head = conv(128, 5 + classes)

    def forward(self, x):
        x = self.backbone(x)
        return self.head(x + self.neck(x))


class Separable(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__()
        self.spatial = conv(inputs, inputs, kernel, stride, inputs, nn.SiLU)
        self.point = conv(inputs, outputs)

    def forward(self, x, add=None):
        x = self.point(self.spatial(x))
        return nn.functional.silu(x if add is None else x + add)


class LatMs(nn.Module):
    """The defaults of MultiScaleShape (model/vision/detector_config.h)."""

    def __init__(self, classes=3):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 16, 3, 2, act=nn.SiLU), conv(16, 32, 3, 2, act=nn.SiLU))
        widths, neck = [32, 64, 96, 128], 64
        self.down = nn.ModuleList(Separable(a, b, 3, 2) for a, b in zip(widths, widths[1:]))
        self.blocks = nn.ModuleList(nn.ModuleList(Separable(w, w, 3) for _ in range(2)) for w in widths[1:])
        self.lateral = nn.ModuleList(conv(w, neck, act=nn.SiLU) for w in widths[1:])
        self.position = conv(neck, neck, 3, groups=neck)
        self.context = Attention(neck, 4)
        self.top = nn.ModuleList(Separable(neck, neck, 5) for _ in range(2))
        self.bottom = nn.ModuleList(Separable(neck, neck, 5, 2) for _ in range(2))
        self.score = nn.ModuleList(Separable(neck, neck, 5) for _ in range(3))
        self.distance = nn.ModuleList(Separable(neck, neck, 5) for _ in range(3))
        self.scores = nn.ModuleList(conv(neck, classes) for _ in range(3))
        self.distances = nn.ModuleList(conv(neck, 4) for _ in range(3))

    def forward(self, x):
        x = self.stem(x)
        maps = []
        for down, blocks, lateral in zip(self.down, self.blocks, self.lateral):
            x = down(x)
            for block in blocks:
                x = block(x, x)
            maps.append(lateral(x))
        up = lambda m: nn.functional.interpolate(m, scale_factor=2.0, mode="nearest")
        maps[2] = self.context(maps[2] + self.position(maps[2]))
        maps[1] = self.top[0](up(maps[2]) + maps[1])
        maps[0] = self.top[1](up(maps[1]) + maps[0])
        maps[1] = self.bottom[0](maps[0], maps[1])
        maps[2] = self.bottom[1](maps[1], maps[2])
        out = []
        for i, m in enumerate(maps):
            out += [self.scores[i](self.score[i](m)), self.distances[i](self.distance[i](m))]
        return tuple(out)


class ShuffleBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride, half = stride, outputs // 2
        own = inputs if stride == 2 else half
        rest = outputs - inputs if stride == 2 else half
        relu = nn.ReLU
        self.main = nn.Sequential(conv(own, half, act=relu), conv(half, half, 3, stride, half), conv(half, rest, act=relu))
        if stride == 2:
            self.side = nn.Sequential(conv(inputs, inputs, 3, 2, inputs), conv(inputs, inputs, act=relu))

    def forward(self, x):
        if self.stride == 2:
            return torch.cat([self.side(x), self.main(x)], 1)
        n, c, rows, columns = x.shape
        x = x.reshape(n, c // 2, 2, rows, columns).transpose(1, 2).reshape(n, c, rows, columns)
        first, second = x.chunk(2, 1)
        return torch.cat([first, self.main(second)], 1)


class FastestDet(nn.Module):
    def __init__(self, classes=80):
        super().__init__()
        relu, c = nn.ReLU, 96
        self.first = nn.Sequential(conv(3, 24, 3, 2, act=relu), nn.MaxPool2d(3, 2, 1))
        channels = [24, 48, 96, 192]
        self.stages = nn.ModuleList(
            nn.Sequential(ShuffleBlock(a, b, 2), *(ShuffleBlock(b, b, 1) for _ in range(repeats - 1)))
            for a, b, repeats in zip(channels, channels[1:], [4, 8, 4]))
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.join = conv(48 + 96 + 192, c, act=relu)
        five = lambda n: nn.Sequential(*(conv(c, c, 5, 1, c, relu) for _ in range(n)))
        self.pyramid = nn.ModuleList(five(n) for n in (1, 2, 3))
        self.merge = conv(3 * c, c)
        self.head = conv(c, c, act=relu)
        self.branches = nn.ModuleList(nn.Sequential(five(1), conv(c, n)) for n in (1, 4, classes))

    def forward(self, x):
        x = self.first(x)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        up = nn.functional.interpolate(maps[2], scale_factor=2.0, mode="nearest")
        x = self.join(torch.cat([self.pool(maps[0]), maps[1], up], 1))
        x = torch.relu(x + self.merge(torch.cat([branch(x) for branch in self.pyramid], 1)))
        score, box, classes = (branch(self.head(x)) for branch in self.branches)
        return torch.cat([torch.sigmoid(score), box, torch.softmax(classes, 1)], 1)


def multiply_adds(network, size):
    """Of the convolutions, for one square picture."""
    total = 0

    def count(module, _, output):
        nonlocal total
        total += output.shape[2] * output.shape[3] * module.weight.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        network(torch.rand(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total
