"""What one would use without a network: regressions and trees on the same features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from oacore.errors import InputError
from oacore.hierarchy import N_GRADES

#: Training features and grades, features to answer for, and a seed, to probabilities (n, 5).
Peer = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
#: Principal components that the ordinal regression is given: it has no penalty of its own.
COMPONENTS = 20


def logistic(x: np.ndarray, kl: np.ndarray, x_test: np.ndarray, seed: int) -> np.ndarray:
    """Multinomial logistic regression with an L2 penalty, C = 0.01."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    return _fitted(model, x, kl, x_test)


def ordinal(x: np.ndarray, kl: np.ndarray, x_test: np.ndarray, seed: int) -> np.ndarray:
    """Proportional odds on the first principal components of the standardised features.

    Notes
    -----
    McCullagh 1980, doi:10.1111/j.2517-6161.1980.tb01109.x; fitted by statsmodels.
    """
    # statsmodels takes a second to load, and nothing else here needs it.
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    components = min(COMPONENTS, x.shape[1])
    reduced = make_pipeline(
        StandardScaler(), PCA(components, svd_solver="full"), StandardScaler()
    ).fit(x)
    grades, codes = np.unique(kl, return_inverse=True)  # a grade may be absent
    model = OrderedModel(codes, reduced.transform(x), distr="logit")
    fit: Any = model.fit(method="bfgs", maxiter=200, disp=False)
    said = np.zeros((len(x_test), N_GRADES))
    said[:, grades] = model.predict(fit.params, exog=reduced.transform(x_test))
    return said


def forest(x: np.ndarray, kl: np.ndarray, x_test: np.ndarray, seed: int) -> np.ndarray:
    """Random forest of 300 trees with leaves of two knees or more."""
    model = RandomForestClassifier(300, min_samples_leaf=2, random_state=seed)
    return _fitted(model, x, kl, x_test)


def boosting(x: np.ndarray, kl: np.ndarray, x_test: np.ndarray, seed: int) -> np.ndarray:
    """Gradient boosting of 60 rounds of small trees, each split choosing among a tenth of all."""
    model = HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=6, max_features=0.1, early_stopping=False, random_state=seed
    )
    return _fitted(model, x, kl, x_test)


#: Peers by their keys, as they are written.
PEERS: dict[str, tuple[str, Peer]] = {
    "logistic": ("Logistic regression", logistic),
    "ordinal": ("Ordinal regression", ordinal),
    "forest": ("Random forest", forest),
    "boosting": ("Gradient boosting", boosting),
}


def peer_of(name: str) -> Peer:
    """One peer by its key.

    Raises
    ------
    InputError
        If there is no such peer.
    """
    if name not in PEERS:
        raise InputError(f"there is no peer {name!r}: choose of {', '.join(PEERS)}")
    return PEERS[name][1]


def _fitted(model: Any, x: np.ndarray, kl: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    model.fit(x, kl)
    said = np.zeros((len(x_test), N_GRADES))
    said[:, model.classes_] = model.predict_proba(x_test)  # a grade may be absent
    return said
