"""Modules find their parameters wherever they stand, and give and take back all their state."""

import copy
import threading
from typing import Any

import numpy as np
import pytest
import safetensors

import dbrrl.functional as F
from dbrrl import nn, optim
from dbrrl.autodiff.tensor import Tensor
from dbrrl.errors import CheckpointError, ConfigError, DtypeError, GraphError

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


class Nested(nn.Module):
    """Parameters and modules as attributes, in a list, in a dict."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.layers = [nn.Linear(3, 3, rng=i) for i in range(2)]
        self.heads = {"left": nn.Linear(3, 2, rng=5), "right": [nn.Parameter([1.0, 2.0])]}
        self.dropout = nn.Dropout(0.5, rng=6)
        self.note = "no parameter"

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = F.tanh(layer(x * self.scale))
        return self.heads["left"](self.dropout(x)) + self.heads["right"][0]


NAMES = [
    "scale", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias",
    "heads.left.weight", "heads.left.bias", "heads.right.0",
]  # fmt: skip


def test_parameters_are_found_in_attributes_lists_and_dicts() -> None:
    module = Nested()
    assert [name for name, _ in module.named_parameters()] == NAMES
    assert [p.size for p in module.parameters()] == [3, 9, 3, 9, 3, 6, 2, 2]
    assert len(list(module.modules())) == 5
    assert list(module.state_dict()) == [*NAMES, "dropout.rng"]


def test_repr_shows_the_tree() -> None:
    assert repr(nn.Sequential(nn.Linear(4, 2, rng=0), nn.Tanh())) == (
        "Sequential(\n  layers.0: Linear(4, 2)\n  layers.1: Tanh()\n)"
    )
    text = repr(Nested())
    assert "\n  heads.left: Linear(3, 2)\n" in text and "dropout: Dropout(p=0.5)" in text


def test_a_module_used_in_two_places_shares_parameters_and_gets_both_gradients() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.first = nn.Linear(3, 3, rng=0)
            self.second = self.first

        def forward(self, x: Any) -> Any:
            return self.second(F.tanh(self.first(x)))

    tied = Tied()
    assert [name for name, _ in tied.named_parameters()] == ["first.weight", "first.bias"]
    assert len(list(tied.modules())) == 2
    tied(X).sum().backward()
    w, b = (p.array for p in tied.parameters())
    h = np.tanh(X @ w.T + b)
    back = np.ones((4, 3)) @ w * (1 - h * h)
    np.testing.assert_allclose(tied.first.weight.grad, np.ones((4, 3)).T @ h + back.T @ X, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tied.first.bias.grad, 4 + back.sum(0), rtol=1e-5)


def test_two_modules_may_share_one_parameter() -> None:
    encoder, decoder = nn.Linear(3, 2, bias=False, rng=0), nn.Linear(3, 2, bias=False, rng=1)
    decoder.weight = encoder.weight
    model = nn.Module()
    model.parts = [encoder, decoder]  # type: ignore[attr-defined]
    assert nn.parameters_to_vector(model).size == 6
    (encoder(X).sum() + 2 * decoder(X).sum()).backward()
    np.testing.assert_allclose(model.parameters()[0].grad, 3 * np.tile(X.sum(0), (2, 1)), atol=1e-5)


def test_a_module_that_refers_to_its_parent_ends() -> None:
    inner, outer = nn.Linear(2, 2, rng=0), nn.Module()
    outer.inner, inner.parent = inner, outer  # type: ignore[attr-defined]
    assert len(list(outer.modules())) == 2
    assert sum(p.size for p in outer.parameters()) == 6


@pytest.mark.parametrize("name", ["flat", "train", "to", "forward", "parameters"])
def test_an_attribute_named_like_a_method_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"Module.{name}: expected a name that is no method"):
        setattr(nn.Module(), name, nn.Linear(1, 1, rng=0))


def test_train_and_eval_reach_all_modules() -> None:
    module = Nested()
    assert module.training and module.eval() is module
    assert not any(m.training for m in module.modules())
    np.testing.assert_array_equal(module(X).array, module(X).array)
    module.train()
    assert all(m.training for m in module.modules())


def test_inside_evaluation_no_module_is_in_training_mode_and_afterwards_each_is_as_it_was() -> None:
    module, frozen = nn.Sequential(nn.Dropout(0.5, rng=0), nn.Linear(3, 2, rng=1)), nn.Dropout(0.5, rng=0).eval()
    other: list[bool] = []
    with nn.evaluation():
        assert not any(m.training for m in module.modules())
        np.testing.assert_array_equal(module(X).array, module(X).array)
        assert module(X).op is None  # no graph
        assert not nn.NoisyLinear(3, 2, rng=0).training
        with nn.evaluation(noise=True):
            assert not nn.NoisyLinear(3, 2, rng=0).training  # the stricter one holds
        thread = threading.Thread(target=lambda: other.append(module.training))
        thread.start()
        thread.join()
    with nn.evaluation(noise=True):
        assert nn.NoisyLinear(3, 2, rng=0).training and not module.training and not nn.Dropout(0.5, rng=0).training
        assert not nn.NoisyLinear(3, 2, rng=0).eval().training
        with nn.evaluation():
            assert not nn.NoisyLinear(3, 2, rng=0).training
        assert nn.NoisyLinear(3, 2, rng=0).training
    with pytest.raises(KeyError), nn.evaluation():
        raise KeyError
    again = nn.evaluation()
    with again, again:
        assert not module.training
    assert module(X).op is not None
    assert all(m.training for m in module.modules()) and not frozen.training and other == [True]


def test_state_goes_round_bit_for_bit_generators_included() -> None:
    module, other = Nested(), Nested()
    for _ in range(3):
        module(X)
    for p in module.parameters():
        p.data = p.array * 1.1
    other.load_state_dict(module.state_dict())
    for _ in range(3):
        np.testing.assert_array_equal(module(X).array, other(X).array)


def test_a_state_is_a_copy() -> None:
    module = nn.NoisyLinear(2, 2, rng=0)
    state = module.state_dict()
    kept = copy.deepcopy(state)
    other = nn.NoisyLinear(2, 2, rng=1)
    other.load_state_dict(state)
    other.noise_in += 1
    other.weight.data = np.zeros((2, 2), np.float32)
    module.resample()
    other.resample()
    np.testing.assert_equal(state, kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("scale"), r"missing \['scale'\]"),
        (lambda s: s.update(extra=np.zeros(3)), r"unknown \['extra'\]"),
        (lambda s: s.update({"heads.right.0": np.zeros(3)}), r"heads.right.0: expected shape \(2,\), got \(3,\)"),
        (lambda s: s.update({"heads.right.0": "text"}), r"heads.right.0: expected an array"),
        (lambda s: s.update({"dropout.rng": {}}), r"dropout.rng: expected"),
        (lambda s: s.update({"dropout.rng": 3}), r"dropout.rng: expected"),
    ],
)
def test_a_wrong_state_changes_nothing(change: Any, message: str) -> None:
    module = Nested()
    before = copy.deepcopy(module.state_dict())
    state = {name: v if name == "dropout.rng" else v + 1 for name, v in module.state_dict().items()}
    change(state)
    with pytest.raises(CheckpointError, match=message) as caught:
        module.load_state_dict(state)
    assert "\n" not in str(caught.value)
    np.testing.assert_equal(module.state_dict(), before)


def test_loading_between_forward_and_backward_is_noticed() -> None:
    module = nn.Linear(3, 1, rng=0)
    loss = F.tanh(module(X)).sum()
    module.load_state_dict(module.state_dict())
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_parameters_keep_their_dtype_and_astype_changes_it() -> None:
    module = nn.NoisyLinear(3, 2, rng=0)
    wide = copy.deepcopy(module).astype(np.float64)
    assert {p.dtype for p in wide.parameters()} == {np.dtype(np.float64)} and wide.noise_in.dtype == np.float64
    assert wide(X.astype(np.float64)).dtype == np.float64
    module.load_state_dict(wide.state_dict())
    assert {p.dtype for p in module.parameters()} == {np.dtype(np.float32)} and module.noise_in.dtype == np.float32
    with pytest.raises(DtypeError, match="expected a floating-point dtype, got int64"):
        module.astype(np.int64)


def test_to_the_same_device_keeps_everything() -> None:
    module = nn.Linear(3, 2, rng=0)
    optimizer = optim.Adam(module)
    array = module.weight.array
    assert module.to("cpu") is module and module.weight.array is array and array.dtype == np.float32
    module(X).sum().backward()
    optimizer.step()
    with pytest.raises(ConfigError, match="device"):
        module.to("gpu")


def test_a_copy_is_independent() -> None:
    model = nn.mlp((3, 4, 2), rng=0)
    optimizer = optim.Adam(model)
    model(X).sum().backward()
    twin, its_optimizer = copy.deepcopy((model, optimizer))
    its_optimizer.step()
    optimizer.step()
    np.testing.assert_array_equal(nn.parameters_to_vector(twin), nn.parameters_to_vector(model))
    np.testing.assert_array_equal(its_optimizer.values, optimizer.values)
    assert twin[0].weight.array.base is its_optimizer.flat.values
    its_optimizer.set_values(0 * optimizer.values)
    assert np.all(twin(X).array == 0) and np.any(model(X).array != 0)


def test_zero_grad_reaches_every_gradient() -> None:
    module = Nested()
    module.scale.grad = Tensor(np.ones(3, np.float32))
    module.heads["left"].bias.grad = np.ones(2, np.float32)
    module.zero_grad()
    assert module.scale.grad is None and not module.heads["left"].bias.grad.any()
    nn.Tanh().zero_grad()


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(X)


def test_a_module_is_saved_to_a_file_and_read_back(tmp_path: Any) -> None:
    def build(seed: int) -> nn.Sequential:
        return nn.Sequential(nn.NoisyLinear(3, 4, rng=seed), nn.Dropout(0.5, rng=seed), nn.Linear(4, 2, rng=seed))

    source, path = build(0), tmp_path / "network.safetensors"
    source.save(path)
    target = build(1)
    optim.Adam(target)
    parameters = target.parameters()
    assert target.load(str(path)) is target
    assert all(a is b for a, b in zip(target.parameters(), parameters, strict=True))
    x = np.ones((5, 3), np.float32)
    np.testing.assert_array_equal(target(x).array, source(x).array)  # dropout draws the same, too
    with safetensors.safe_open(path, framework="numpy") as file:  # other programs read it by the same names
        np.testing.assert_array_equal(file.get_tensor("layers.2.weight"), source.state_dict()["layers.2.weight"])


def test_a_file_that_is_not_this_networks_changes_nothing(tmp_path: Any) -> None:
    path, layer = tmp_path / "network.safetensors", nn.Linear(3, 2, rng=0)
    before = layer.state_dict()
    with pytest.raises(CheckpointError, match="there is no such file"):
        layer.load(path)
    nn.Linear(4, 2, rng=1).save(path)
    with pytest.raises(CheckpointError, match=r"network\.safetensors: Linear.weight: expected shape \(2, 3\)"):
        layer.load(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"network\.safetensors"):
        layer.load(path)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_parameter_gives_and_takes_back_its_value() -> None:
    parameter = nn.Parameter(np.array([0.5, -2.0], np.float32))
    optim.SGD([parameter], 1.0)
    array, state = parameter.array, parameter.state_dict()
    parameter.data = np.zeros(2, np.float32)
    assert state["values"].tolist() == [0.5, -2.0]
    parameter.load_state_dict(state)
    assert parameter.array is array and array.tolist() == [0.5, -2.0]
    wrong: Any
    for wrong, message in (
        ({"values": np.zeros(3, np.float32)}, r"Parameter: expected shape \(2,\), got \(3,\)"),
        ({"values": np.full(2, np.nan, np.float32)}, "Parameter: expected finite"),
        ({}, "expected an entry 'values'"),
        ([1.0, 2.0], "expected a table"),
    ):
        with pytest.raises(CheckpointError, match=message):
            parameter.load_state_dict(wrong)
    assert array.tolist() == [0.5, -2.0]
