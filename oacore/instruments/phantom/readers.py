"""Reader noise: how a radiologist's grade departs from the true one.

Coarse errors cross the boundary of osteoarthritis, fine ones stay on one side of it; each kind
has its own strength, from none to that of the measured table.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from oacore.errors import InputError
from oacore.hierarchy import FIRST_OA_GRADE, N_GRADES, reader_table


def noisy_readings(coarse_noise: float, fine_noise: float) -> np.ndarray:
    """P(reading | true grade), between a faultless reader and the measured table.

    Entries off the diagonal are those of :func:`.hierarchy.reader_table`, scaled; the
    diagonal takes the rest. So (0, 0) is the identity, (1, 1) the measured table, and (t, t)
    the straight line between the two.

    Parameters
    ----------
    coarse_noise : float
        0 to 1, scales errors between KL < 2 and KL >= 2.
    fine_noise : float
        0 to 1, scales errors within KL < 2 and within KL >= 2.

    Returns
    -------
    ndarray, shape (5, 5)
        Rows true grade, columns reading; rows sum to one.

    Raises
    ------
    InputError
        If a noise lies outside 0 to 1.
    """
    for name, noise in (("coarse", coarse_noise), ("fine", fine_noise)):
        if not 0 <= noise <= 1:
            raise InputError(f"the {name} reader_noise is {noise}; give a number from 0 to 1")
    oa = np.arange(N_GRADES) >= FIRST_OA_GRADE
    across = oa[:, None] != oa[None, :]
    readings = reader_table().to_numpy() * np.where(across, coarse_noise, fine_noise)
    np.fill_diagonal(readings, 0)
    np.fill_diagonal(readings, 1 - readings.sum(1))
    return readings


def true_shares(readings: np.ndarray, observed: npt.ArrayLike) -> np.ndarray:
    """Shares of the true grades that make `observed` the expected readings.

    The maximum of the likelihood by the Richardson-Lucy iteration (doi:10.1364/JOSA.62.000055,
    doi:10.1086/111605). Where no shares give `observed` exactly, the closest in that sense.

    Parameters
    ----------
    readings : ndarray, shape (5, 5)
        P(reading | true grade), see `noisy_readings`.
    observed : array_like, shape (5,)
        Knees with each reading, or their shares; at least one above 0.

    Returns
    -------
    ndarray, shape (5,)
        Shares of KL 0 to 4; they sum to one.
    """
    seen = np.asarray(observed, dtype=float)
    seen = seen / seen.sum()
    shares = np.full(N_GRADES, 1 / N_GRADES)
    for _ in range(500):
        expected = shares @ readings
        ratio = np.divide(seen, expected, out=np.zeros(N_GRADES), where=expected > 0)
        shares = shares * (readings @ ratio)
    return shares / shares.sum()
