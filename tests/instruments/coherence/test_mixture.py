"""The Gaussian mixture: scikit-learn's and SciPy's density, in PyTorch too; the loss; its file."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import nn

from oacore.errors import InputError
from oacore.instruments.coherence.mixture import (
    fit_mixture,
    incoherence,
    incoherence_gradient,
    log_density,
    loss_curves,
    mixture_loss,
    projected,
    read_mixture,
    save_mixture,
)
from oacore.instruments.coherence.patterns import (
    GRADES,
    SIZES,
    blurred,
    by_head,
    drawn_patterns,
    one_hot,
    readings,
)


@pytest.fixture(scope="module")
def patterns():
    return drawn_patterns(np.arange(1500) % 5, seed=0)


@pytest.fixture(scope="module")
def mixture(patterns):
    return fit_mixture(readings(patterns), seed=0)


def answers(n, seed=0, scale=2.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    draw = {k: torch.randn(n, s, generator=generator, dtype=dtype) for k, s in SIZES.items()}
    return {name: (scale * logits).softmax(1) for name, logits in draw.items()}


def flat(probabilities):
    return torch.cat([probabilities[name] for name in GRADES], 1).double().numpy()


def test_the_fit_is_scikit_learns(patterns, mixture):
    codes = one_hot(readings(patterns))
    noisy = codes + np.random.default_rng(0).normal(0, 0.2, codes.shape)
    theirs = GaussianMixture(10, covariance_type="full", random_state=0).fit(noisy)
    some = np.concatenate([codes[::20], blurred(codes[::50], 0.3), flat(answers(50))])
    assert np.allclose(mixture.score(some), theirs.score_samples(some), rtol=1e-10, atol=1e-9)


def test_the_density_is_equation_3(mixture):
    some = flat(answers(20))
    covariances = np.linalg.inv(mixture.roots @ mixture.roots.transpose(0, 2, 1))
    each = [
        np.log(weight) + multivariate_normal(mean, (cov + cov.T) / 2).logpdf(some)
        for weight, mean, cov in zip(mixture.weights, mixture.means, covariances, strict=True)
    ]
    assert np.allclose(mixture.score(some), logsumexp(each, axis=0), atol=1e-8)


def test_pytorchs_density_in_both_precisions(mixture):
    p = answers(64)
    assert np.allclose(log_density(mixture)(p).numpy(), mixture.score(flat(p)), atol=1e-10)
    single = {name: value.float() for name, value in p.items()}
    g = log_density(mixture)(single)
    assert g.dtype == torch.float32
    assert np.allclose(g.numpy(), mixture.score(flat(single)), atol=2e-4)


def test_a_steep_mixture_in_single_precision(patterns):
    steep = fit_mixture(readings(patterns), sigma=0, seed=0)
    p = answers(64, dtype=torch.float32)
    g = steep.score(flat(p))
    assert g.min() < -10_000
    assert np.allclose(log_density(steep)(p).numpy(), g, rtol=1e-4)


def test_gradients_by_finite_differences(mixture):
    p = answers(3)
    leaves = [p[name].requires_grad_() for name in GRADES]
    for loss in (log_density(mixture), mixture_loss(mixture, 0.5)):
        assert torch.autograd.gradcheck(lambda *x, f=loss: f(dict(zip(GRADES, x, strict=True))),
                                        leaves)  # fmt: skip


def test_the_loss_is_equation_4(mixture):
    p = answers(64)
    g = mixture.score(flat(p))
    for tau in (0.25, 0.5, 1.5):
        found = mixture_loss(mixture, tau)(p)
        assert found.shape == (64,)
        assert np.allclose(found.numpy(), np.log(1 + np.exp(-tau * g)) / tau)
        assert np.allclose(incoherence(g, tau), found.numpy(), atol=1e-12)


def test_the_loss_over_g():
    g = np.array([-1e5, -16, -1, 0, 1, 14, 1e5])
    loss = nn.functional.softplus(torch.tensor(-0.5 * g)) / 0.5
    assert np.allclose(incoherence(g, 0.5), loss.numpy(), rtol=1e-9)
    ends = incoherence_gradient([-1e5, 1e5], 0.5)
    assert ends.tolist() == [-1, 0]
    near = np.linspace(-20, 20, 41)
    slope = (incoherence(near + 1e-5, 0.75) - incoherence(near - 1e-5, 0.75)) / 2e-5
    assert np.allclose(incoherence_gradient(near, 0.75), slope, atol=1e-8)


def test_curves_of_the_supplement():
    table = loss_curves((0.25, 0.5, 0.75, 1, 1.5), np.arange(-16, 15))
    assert len(table) == 5 * 31
    # Figure 1 reaches from 0 to about 16 over g from -16 to 14; at g = 0 the loss is log(2) / tau.
    at = table.set_index(["tau", "g"])
    assert at.loc[(0.25, 0.0), "loss"] == pytest.approx(np.log(2) / 0.25)
    assert table.groupby("tau")["loss"].max().between(16, 16.2).all()
    assert (at.xs(0.0, level="g")["gradient"] == -0.5).all()


def test_half_precision_costs_no_digits(mixture):
    p = answers(32, dtype=torch.float32)
    expected = mixture_loss(mixture, 0.5)(p)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mixture_loss(mixture, 0.5)(p), expected)
    half = {name: value.bfloat16() for name, value in p.items()}
    assert mixture_loss(mixture, 0.5)(half).dtype == torch.float32


def test_a_loss_that_was_first_asked_without_gradients(mixture):
    loss = mixture_loss(mixture, 0.5)
    p = answers(4, dtype=torch.float32)
    with torch.inference_mode():
        loss(p)
    p["kl"].requires_grad_()
    loss(p).sum().backward()
    assert p["kl"].grad.abs().sum() > 0


def test_the_file_holds_the_same_mixture(mixture, tmp_path):
    path = tmp_path / "mixture.safetensors"
    save_mixture(mixture, path)
    again = read_mixture(path)
    assert all(np.array_equal(a, b) for a, b in
               zip(vars(mixture).values(), vars(again).values(), strict=True))  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == ["mixture.safetensors"]


def test_other_files_are_refused(mixture, tmp_path):
    path = tmp_path / "mixture.safetensors"
    with pytest.raises(InputError, match=r"mixture\.safetensors: no such file; fit"):
        read_mixture(path)
    path.write_bytes(b"no tensors here, whatever the name says")
    with pytest.raises(InputError, match="no mixture"):
        read_mixture(path)
    for wrong in (vars(mixture) | {"means": mixture.means[:, :28]}, {"weights": mixture.weights},
                  vars(mixture) | {"weights": np.array(1.0)}):  # fmt: skip
        save_file({name: np.ascontiguousarray(array) for name, array in wrong.items()}, path)
        with pytest.raises(InputError, match="not the arrays of a mixture"):
            read_mixture(path)
    with pytest.raises(InputError, match="make the folder"):
        save_mixture(mixture, tmp_path / "none/mixture.safetensors")


def test_settings_and_answers_that_cannot_be(patterns, mixture):
    with pytest.raises(InputError, match="9 knees are too few for 10"):
        fit_mixture(readings(patterns)[:9], seed=0)
    for wrong in (0, -1, float("nan")):
        with pytest.raises(InputError, match="tau is"):
            mixture_loss(mixture, wrong)
        with pytest.raises(InputError, match="tau is"):
            incoherence([0], wrong)
    p = answers(4)
    with pytest.raises(InputError, match="head jsn_medial is missing"):
        log_density(mixture)({name: p[name] for name in GRADES if name != "jsn_medial"})
    with pytest.raises(InputError, match=r"head kl has the shape \(4, 4\)"):
        log_density(mixture)(p | {"kl": p["kl"][:, :4]})


def test_principal_axes_are_scikit_learns(patterns, mixture):
    points, centres = projected(patterns, mixture)
    pca = PCA(3).fit(one_hot(readings(patterns)))
    names = ["pc1", "pc2", "pc3"]
    for frame, codes in (
        (points, one_hot(patterns[list(GRADES)].to_numpy())),
        (centres, mixture.means[np.argsort(-mixture.weights)]),
    ):
        theirs = pca.transform(codes)
        assert np.allclose(np.abs(frame[names]), np.abs(theirs), atol=1e-8)
    assert np.corrcoef(points["pc1"], points["kl"])[0, 1] > 0.5
    assert centres["weight"].sum() == pytest.approx(1)
    assert points["count"].equals(patterns["count"])


def test_by_head_is_what_the_losses_take(patterns, mixture):
    codes = one_hot(readings(patterns)[:40])
    p = {name: torch.tensor(value) for name, value in by_head(codes).items()}
    assert np.allclose(log_density(mixture)(p).numpy(), mixture.score(codes))
