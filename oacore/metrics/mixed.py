"""A second opinion on a difference over seeds and knees: a linear mixed model.

Where a score is a mean over knees (a share of right answers, an overlap), seeds and knees can also
be the two crossed random effects of a linear model of the difference. The estimate is the same as
that of :mod:`.metrics.crossed`; the standard error comes from another theory, restricted maximum
likelihood, and from another hand, statsmodels.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from oacore.errors import InputError


def mixed_difference(difference: np.ndarray) -> dict[str, float]:
    """Mean of a difference of two models with random effects of the seed and of the knee.

    Parameters
    ----------
    difference : (S, n) float array
        Of each seed on each knee, as 1, 0 or -1 where one of the two models is right.

    Returns
    -------
    dict
        `value`, its standard error `se`; `sd_seeds`, `sd_knees`, `sd_rest`, the standard
        deviations of the random effects and of the rest.

    Raises
    ------
    InputError
        If there is but one seed, or a difference is missing: the model needs both crossed.

    Notes
    -----
    y[j, i] = value + seed[j] + knee[i] + rest[j, i], all normal (Baayen and others 2008,
    doi:10.1016/j.jml.2007.12.005); ``statsmodels.MixedLM`` fits it.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.tools.sm_exceptions import ConvergenceWarning

    seeds, n = difference.shape
    if seeds < 2 or np.isnan(difference).any():
        raise InputError("mixed_difference: give at least two seeds, each with every knee's value")
    long = pd.DataFrame(
        {
            "y": difference.ravel(),
            "seed": np.repeat(np.arange(seeds), n),
            "knee": np.tile(np.arange(n), seeds),
        }
    )
    if np.ptp(difference) == 0:
        still = {"value": float(difference.flat[0]), "se": 0.0}
        return {**still, "sd_seeds": 0.0, "sd_knees": 0.0, "sd_rest": 0.0}
    model = MixedLM.from_formula(
        "y ~ 1",
        long,
        groups=np.ones(len(long)),
        re_formula="0",
        vc_formula={"seed": "0 + C(seed)", "knee": "0 + C(knee)"},
    )
    with warnings.catch_warnings():
        # A variance of zero is a finding here, and it is reported as one.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # The default follows a gradient and, on crossed effects, stops short of the maximum and
        # says that it converged; Nelder and Mead's simplex finds it.
        fit = model.fit(reml=True, method="nm")
    variances = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    return {
        "value": float(fit.fe_params.iloc[0]),
        "se": float(fit.bse_fe.iloc[0]),
        **{f"sd_{name}s": float(np.sqrt(variances[name])) for name in ("seed", "knee")},
        "sd_rest": float(np.sqrt(fit.scale)),
    }
