"""Models of the grade from radiomics: what 535 numbers, or a few, say of a knee.

All give tidy predictions (:mod:`.metrics.predictions`), so that the metrics, the intervals and the
comparison of supervisions are those of the networks on images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from oacore.errors import InputError
from oacore.instruments.radiomics.table import PERSON, REGIONS, VOLUMES, feature_columns
from oacore.metrics.crossed import crossed
from oacore.metrics.predictions import COLUMNS, PROB_KL
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import f1, table1
from oacore.metrics.seeds import metrics_by_seed

N_GRADES = len(PROB_KL)


@dataclass(frozen=True)
class Settings:
    """Of the small network. The defaults are what :func:`tune` chose, see there."""

    hidden: int = 16
    dropout: float = 0.5
    weight_decay: float = 1.0
    epochs: int = 40
    batch: int = 32
    learning_rate: float = 1e-3


#: What :func:`tune` chose from.
GRID = [
    Settings(hidden, dropout, weight_decay, epochs)
    for hidden in (16, 64)
    for dropout in (0.0, 0.5)
    for weight_decay in (0.01, 1.0)
    for epochs in (10, 20, 40, 80)
]


def linear_predictions(
    train: pd.DataFrame, test: pd.DataFrame, columns: Sequence[str], name: str
) -> pd.DataFrame:
    """Logistic regression as Single-OA and as Single-KL (multinomial).

    L2 penalty with C = 0.1, classes weighted by the inverse of their frequency. Columns are
    standardised by the training knees' mean and standard deviation; a missing value takes their
    median. There is no randomness in it; the seed of the predictions is 0.

    Parameters
    ----------
    train, test : DataFrame
        Rows of :func:`.table.read_radiomics`.
    columns : sequence of str
        What the model is given.
    name : str
        The predictions' ``backbone``.

    Returns
    -------
    DataFrame
        Two rows a test knee, one for each supervision.
    """
    model = make_pipeline(
        SimpleImputer(strategy="median"),
        StandardScaler(),
        LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000),
    )
    return _both_single(model, train, test, list(columns), name)


def constant_predictions(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Give every knee the training knees' commonest class, and their shares as probabilities."""
    return _both_single(DummyClassifier(strategy="prior"), train, test, [VOLUMES[0]], "constant")


def control_predictions(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Constant guess, and logistic regression on ever more of what is known of a knee.

    Returns
    -------
    DataFrame
        Tidy predictions of the backbones "constant", "age, sex, BMI", "five volumes", each of the
        five regions, and "all features".
    """
    given = {"age, sex, BMI": PERSON, "five volumes": VOLUMES}
    given |= {region: feature_columns(train, region) for region in REGIONS.values()}
    given["all features"] = feature_columns(train)
    models = [linear_predictions(train, test, columns, name) for name, columns in given.items()]
    return pd.concat([constant_predictions(train, test), *models], ignore_index=True)


def network_predictions(
    train: pd.DataFrame,
    test: pd.DataFrame,
    seeds: Iterable[int],
    settings: Settings | None = None,
    name: str = "mlp",
) -> pd.DataFrame:
    """A shared encoder with parallel heads, trained as Single-OA, Single-KL and Dual.

    The paper's question without images: the same encoder and heads, equation (2), and the same
    loss, equation (3) of arXiv:2605.00718, on 535 standardised features. All three supervisions
    of a seed start from the same weights and see the knees in the same order.

    Parameters
    ----------
    train, test : DataFrame
        Rows of :func:`.table.read_radiomics`.
    seeds : iterable of int
        One run of each supervision for each.
    settings : Settings, optional
        By default those of :class:`Settings`.
    name : str
        The predictions' ``backbone``.

    Returns
    -------
    DataFrame
        A row a test knee, supervision and seed.
    """
    from oacore.hierarchy import SUPERVISIONS

    settings = settings or Settings()
    columns = feature_columns(train)
    scaler = StandardScaler().fit(train[columns])
    x_train, x_test = (scaler.transform(table[columns]) for table in (train, test))
    kl = train["kl"].to_numpy(np.int64)
    rows = []
    for seed in seeds:
        for supervision, heads in SUPERVISIONS.items():
            prob = _train_network(x_train, kl, x_test, heads, seed, settings)
            rows.append(_tidy(test, name, supervision, seed, prob.get("oa"), prob.get("kl")))
    if not rows:
        raise InputError("network_predictions: no seed is given; give at least one")
    return pd.concat(rows, ignore_index=True)


def cross_validated(
    table: pd.DataFrame,
    predict: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame],
    *,
    folds: int = 5,
    seed: int,
) -> pd.DataFrame:
    """Table 1's metrics on each fold of a cross-validation, folds stratified by grade.

    Parameters
    ----------
    table : DataFrame
        Rows of one split of :func:`.table.read_radiomics`.
    predict : callable
        From training rows and held-out rows to tidy predictions of the latter.
    folds, seed : int
        Number of folds, and the seed that assigns knees to them.

    Returns
    -------
    DataFrame
        Rows of :func:`.scores.table1` with a column ``fold``. The standard deviation over
        folds is no standard error of their mean: each pair of folds shares training knees, and
        no unbiased estimate of that variance exists (Bengio and Grandvalet 2004).
    """
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(table, table["kl"])
    scores = [
        table1(predict(table.iloc[kept], table.iloc[held])).assign(fold=fold)
        for fold, (kept, held) in enumerate(parts)
    ]
    return pd.concat(scores, ignore_index=True)


def tune(train: pd.DataFrame, grid: Sequence[Settings], *, seed: int) -> pd.DataFrame:
    """Compare settings of the network by a five-fold cross-validation on the training knees.

    Each setting is judged by the mean of four AUCs, OA's of Single-OA and of Dual, KL's macro-AUC
    of Single-KL and of Dual, so that no supervision is favoured. The test knees take no part.

    Parameters
    ----------
    train : DataFrame
        Rows of the training split.
    grid : sequence of Settings
    seed : int
        Of the folds, and of the one run in each.

    Returns
    -------
    DataFrame
        A row a setting, the best first: its fields, and ``score``, the mean over the folds.
    """
    rows = []
    for settings in tqdm(grid, "settings"):

        def predict(kept: pd.DataFrame, held: pd.DataFrame, one: Settings = settings) -> Any:
            return network_predictions(kept, held, [seed], one)

        scores = cross_validated(train, predict, seed=seed)
        scores = scores.set_index("supervision")[["oa_auc", "kl_auc"]].groupby(level=0).mean()
        aucs = [*scores.loc[["single_oa", "dual"], "oa_auc"]]
        aucs += [*scores.loc[["single_kl", "dual"], "kl_auc"]]
        rows.append(vars(settings) | {"score": float(np.mean(aucs))})
    return pd.DataFrame(rows).sort_values("score", ascending=False, ignore_index=True)


def score_intervals(
    predictions: pd.DataFrame, *, n_resamples: int = 2000, seed: int
) -> pd.DataFrame:
    """Table 1's metrics and OA's macro-F1, means over a model's seeds, with 95% intervals.

    Parameters
    ----------
    predictions : DataFrame
        Tidy predictions of one split, any number of models and seeds.
    n_resamples, seed : int
        Of the bootstrap over the knees.

    Returns
    -------
    DataFrame
        backbone, supervision, metric, and the columns of :func:`.crossed.crossed`, whose
        intervals are over seeds and knees where a model has several seeds.
    """
    rows = []
    for model, runs in predictions.groupby(["backbone", "supervision"], sort=False):
        rng = np.random.default_rng(seed)  # the same knees are drawn for every model
        of_seeds = [one.sort_values("case_id") for _, one in runs.groupby("seed")]
        counts = draw_cases(len(of_seeds[0]), n_resamples, rng)
        values = metrics_by_seed(of_seeds, counts)  # (S, 1 + B) each
        values["oa_macro_f1"] = np.stack([_oa_macro_f1(one, counts) for one in of_seeds])
        for metric, by_seed in values.items():
            found = {"metric": metric} | crossed(by_seed, within=(0, 1))
            rows.append({"backbone": model[0], "supervision": model[1], **found})
    return pd.DataFrame(rows)


def _oa_macro_f1(predictions: pd.DataFrame, counts: np.ndarray) -> np.ndarray:
    """Mean of the F1 of OA and the F1 of no OA: what Chen et al. print, not what Table 1 does."""
    oa, predicted = (predictions[name].to_numpy(int) == 1 for name in ("oa", "pred_oa"))
    return (f1(counts, oa, predicted) + f1(counts, ~oa, ~predicted)) / 2


def _both_single(
    model: Any, train: pd.DataFrame, test: pd.DataFrame, columns: list[str], name: str
) -> pd.DataFrame:
    """Fit a scikit-learn classifier to the coarse label, then to the grades."""
    x_train, x_test = train[columns].to_numpy(float), test[columns].to_numpy(float)
    prob_oa = model.fit(x_train, train["oa"]).predict_proba(x_test)[:, 1]
    model.fit(x_train, train["kl"])
    prob_kl = np.zeros((len(test), N_GRADES))
    prob_kl[:, model.classes_] = model.predict_proba(x_test)  # a grade may be absent
    single_oa = _tidy(test, name, "single_oa", 0, prob_oa, None)
    return pd.concat([single_oa, _tidy(test, name, "single_kl", 0, None, prob_kl)])


def _tidy(
    test: pd.DataFrame,
    backbone: str,
    supervision: str,
    seed: int,
    prob_oa: np.ndarray | None,
    prob_kl: np.ndarray | None,
) -> pd.DataFrame:
    """Predictions from the probabilities of OA, shape (n,), and of the grades, shape (n, 5)."""
    table = test[["split", "case_id", "kl", "oa"]].reset_index(drop=True)
    table = table.assign(backbone=backbone, supervision=supervision, seed=seed)
    if prob_kl is not None:
        table[PROB_KL] = prob_kl
        table["prob_oa_from_kl"] = prob_kl[:, 2:].sum(axis=1)  # equation (4)
        table["pred_kl"] = prob_kl.argmax(axis=1)
    if prob_oa is None:
        prob_oa = table["prob_oa_from_kl"].to_numpy()
    table["prob_oa"], table["pred_oa"] = prob_oa, (prob_oa >= 0.5).astype(int)
    return table.reindex(columns=COLUMNS).astype({"pred_kl": "Int64"})


def _train_network(
    x_train: np.ndarray,
    kl: np.ndarray,
    x_test: np.ndarray,
    heads: tuple[str, ...],
    seed: int,
    settings: Settings,
) -> dict[str, np.ndarray]:
    """Probabilities of the test knees by head: "oa" of shape (n,), "kl" of shape (n, 5)."""
    import torch
    from torch import nn

    from oacore.training.losses import hierarchical_loss

    x, target = torch.tensor(x_train).float(), torch.tensor(kl)  # (n, 535), (n,)
    # Dropout and initial weights draw from torch's global generator: lent, and given back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(
            nn.Linear(x.shape[1], settings.hidden), nn.ReLU(), nn.Dropout(settings.dropout)
        )
        # Both heads are made, and those used are trained, so that a seed means the same weights.
        made = {"oa": nn.Linear(settings.hidden, 1), "kl": nn.Linear(settings.hidden, N_GRADES)}
        used = nn.ModuleDict({head: made[head] for head in heads})
        network = nn.ModuleList([encoder, used])
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        order = np.random.default_rng(seed)
        for _ in range(settings.epochs):
            for rows in torch.from_numpy(order.permutation(len(x))).split(settings.batch):
                z = encoder(x[rows])  # (batch, hidden)
                logits = {head: used[head](z).squeeze(-1) for head in heads}
                loss, _ = hierarchical_loss(logits, target[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    network.eval()
    with torch.no_grad():
        z = encoder(torch.tensor(x_test).float())
        out = {head: used[head](z).double() for head in heads}
    prob = {"oa": lambda logit: logit.sigmoid().squeeze(-1), "kl": lambda logit: logit.softmax(-1)}
    return {head: prob[head](logit).numpy() for head, logit in out.items()}
