"""Five networks as people write them in PyTorch, with random weights, and inputs to run them on.

Each entry of MODELS is a Network: how to build it, which axes of its inputs are open, and inputs for a
batch of `rows` whose open length is `length`.
"""
import dataclasses
import typing

import numpy as np
import torch
from torch import nn
from torch.nn import functional

WORDS = 50  # of the vocabularies


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x):
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, width=24, classes=10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width),
                                  nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.Sequential(Residual(width, width, 1), Residual(width, width, 1),
                                    Residual(width, 2 * width, 2), Residual(2 * width, 2 * width, 1),
                                    Residual(2 * width, 4 * width, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(4 * width, classes)

    def forward(self, image):
        return self.classify(torch.flatten(self.pool(self.stages(self.stem(image))), 1))


class Squeeze(nn.Module):
    """Squeeze and excite: each channel scaled by what all channels' means say."""

    def __init__(self, channels, inner):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.down = nn.Conv2d(channels, inner, 1)
        self.up = nn.Conv2d(inner, channels, 1)

    def forward(self, x):
        return x * functional.hardsigmoid(self.up(functional.relu(self.down(self.pool(x)))))


class Inverted(nn.Module):
    """MobileNetV3's block: 1x1 up, depthwise, squeeze, 1x1 down, and a shortcut where shapes allow."""

    def __init__(self, before, wide, after, kernel, stride, activation):
        super().__init__()
        self.add = stride == 1 and before == after
        self.block = nn.Sequential(
            nn.Conv2d(before, wide, 1, bias=False), nn.BatchNorm2d(wide, eps=1e-3), activation(),
            nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide, eps=1e-3), activation(), Squeeze(wide, max(8, wide // 4)),
            nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after, eps=1e-3))

    def forward(self, x):
        return x + self.block(x) if self.add else self.block(x)


class MobileNet(nn.Module):
    def __init__(self, classes=12):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16, eps=1e-3), nn.Hardswish(),
            Inverted(16, 16, 16, 3, 2, nn.ReLU), Inverted(16, 72, 24, 3, 2, nn.ReLU6),
            Inverted(24, 88, 24, 3, 1, nn.Hardswish), Inverted(24, 96, 40, 5, 2, nn.Hardswish),
            Inverted(40, 120, 40, 5, 1, nn.SiLU))
        self.classify = nn.Sequential(nn.Linear(40, 64), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(64, classes))

    def forward(self, image):
        return functional.softmax(self.classify(self.features(image).mean([2, 3])), dim=1)


class Tagger(nn.Module):
    """A tag for each word, from an LSTM of two layers that reads both ways. `packed`: as far as each
    sentence is long, and no further."""

    def __init__(self, packed, tags=9, hidden=24):
        super().__init__()
        self.packed = packed
        self.embed = nn.Embedding(WORDS, 20, padding_idx=0)
        self.lstm = nn.LSTM(20, hidden, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        self.tag = nn.Linear(2 * hidden, tags)

    def forward(self, words, lengths=None):
        x = self.embed(words)
        state = None
        if self.packed:  # without a state of its own the exporter writes down the batch that it saw
            zeros = torch.zeros(2 * self.lstm.num_layers, words.shape[0], self.lstm.hidden_size)
            state = (zeros, zeros)
            x = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (last, _) = self.lstm(x, state)
        if self.packed:
            y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
        return functional.log_softmax(self.tag(y), dim=-1), torch.cat([last[-2], last[-1]], dim=1)


class Attentive(nn.Module):
    """One class for a sequence: a GRU, and additive attention over its steps as far as they are real."""

    def __init__(self, features=6, hidden=32, classes=5):
        super().__init__()
        self.gru = nn.GRU(features, hidden, batch_first=True, bidirectional=True)
        self.keys = nn.Linear(2 * hidden, hidden)
        self.query = nn.Linear(2 * hidden, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)
        self.classify = nn.Sequential(nn.LayerNorm(2 * hidden), nn.Linear(2 * hidden, 16), nn.GELU(),
                                      nn.Linear(16, classes))

    def forward(self, steps, lengths):
        y, last = self.gru(steps)
        query = self.query(last.transpose(0, 1).reshape(y.shape[0], -1)).unsqueeze(1)
        scores = self.score(torch.tanh(self.keys(y) + query)).squeeze(-1)
        beyond = torch.arange(y.shape[1], device=y.device)[None, :] >= lengths[:, None]
        weights = torch.softmax(scores.masked_fill(beyond, float("-inf")), dim=1)
        pooled = torch.bmm(weights.unsqueeze(1), y).squeeze(1)
        return self.classify(pooled), weights


class Encoder(nn.Module):
    """Embedding, positions, three encoder layers with a padding mask, and the mean of the real words.
    An odd number of heads keeps PyTorch from an inference kernel that no exporter knows."""

    def __init__(self, width=36, heads=3, classes=4, longest=128):
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        place = torch.arange(longest)[:, None] * torch.exp(torch.arange(0, width, 2) * (-np.log(10000.0) / width))
        self.register_buffer("places", torch.stack([torch.sin(place), torch.cos(place)], -1).flatten(1))
        layer = nn.TransformerEncoderLayer(width, heads, 72, 0.1, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 3, nn.LayerNorm(width), enable_nested_tensor=False)
        self.classify = nn.Linear(width, classes)

    def forward(self, words):
        padding = words == 0
        x = self.embed(words) * self.embed.embedding_dim ** 0.5 + self.places[: words.shape[1]]
        y = self.layers(x, src_key_padding_mask=padding)
        real = (~padding).unsqueeze(-1).to(y.dtype)
        return self.classify((y * real).sum(1) / real.sum(1).clamp(min=1.0)), y


def image(random, rows, length):
    return [random.standard_normal((rows, 3, length, length + 16)).astype("f4")]


def lengths_of(random, rows, length):
    lengths = random.integers(1, length + 1, rows)
    lengths[random.integers(rows)] = length
    return lengths.astype("i8")


def sentence(random, rows, length):
    words = random.integers(1, WORDS, (rows, length)).astype("i8")
    lengths = lengths_of(random, rows, length)
    words[np.arange(length)[None, :] >= lengths[:, None]] = 0
    return [words, lengths]


def words_alone(random, rows, length):
    return sentence(random, rows, length)[:1]


def steps(random, rows, length):
    return [random.standard_normal((rows, length, 6)).astype("f4"), lengths_of(random, rows, length)]


@dataclasses.dataclass
class Network:
    build: typing.Callable
    inputs: dict  # name: {axis: name}
    outputs: dict
    case: typing.Callable  # (random, rows, length): arrays in the order of `inputs`
    shapes: list  # of (rows, length)
    captured: str = "open"  # by torch.export: all axes "open", "fixed" length, or "not" at all
    traced: str = "open"  # likewise, where there is torch.export: later PyTorch traces other code


IMAGES = {"image": {0: "batch", 2: "height", 3: "width"}}
WORDS_IN = {"words": {0: "batch", 1: "time"}}
LENGTHS_IN = {"lengths": {0: "batch"}}
BY_STEP = {0: "batch", 1: "time"}
IMAGE_SHAPES = [(1, 64), (2, 96), (5, 80)]
TEXT_SHAPES = [(1, 7), (3, 12), (8, 33), (33, 5)]

MODELS = {
    "resnet": Network(ResNet, IMAGES, {"scores": {0: "batch"}}, image, IMAGE_SHAPES),
    "mobilenet": Network(MobileNet, IMAGES, {"scores": {0: "batch"}}, image, IMAGE_SHAPES),
    "bilstm_tagger": Network(lambda: Tagger(False), WORDS_IN, {"tags": BY_STEP, "last": {0: "batch"}},
                             words_alone, TEXT_SHAPES, captured="fixed"),
    "bilstm_tagger_packed": Network(lambda: Tagger(True), WORDS_IN | LENGTHS_IN,
                                    {"tags": BY_STEP, "last": {0: "batch"}}, sentence, TEXT_SHAPES, captured="not"),
    "gru_attention": Network(Attentive, {"steps": BY_STEP} | LENGTHS_IN,
                             {"scores": {0: "batch"}, "weights": BY_STEP}, steps, TEXT_SHAPES,
                             captured="fixed"),
    "transformer": Network(Encoder, WORDS_IN, {"scores": {0: "batch"}, "encoded": BY_STEP}, words_alone, TEXT_SHAPES,
                           traced="fixed"),
}
