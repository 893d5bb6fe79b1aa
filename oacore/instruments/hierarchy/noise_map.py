"""What noise and the number of knees do to every arm, and where Dual wins: tables and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from oacore.errors import InputError
from oacore.instruments.hierarchy.analysis import MEASURE_NAMES, contrast, finding
from oacore.instruments.hierarchy.figures import arm_name
from oacore.instruments.hierarchy.noise import LEVELS, NoisePlan, noise_answers, noisy_knees
from oacore.metrics.clinical import weighted_kappa
from oacore.metrics.crossed import crossed
from oacore.metrics.resampling import draw_cases
from oacore.metrics.scores import macro_auc
from oacore.metrics.significance import benjamini_hochberg
from oacore.plots.intervals import for_phones
from oacore.plots.style import COLOURS, SYMBOLS, require_columns, style_figure


def noise_tables(
    plan: NoisePlan, folder: Path | str, n_resamples: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of all arms, and Dual minus each other, in every finished cell.

    Parameters
    ----------
    plan : NoisePlan
    folder : path
        See :func:`run_noise`.
    n_resamples : int
        Of test knees, drawn with seed 0.

    Returns
    -------
    scores : DataFrame
        level, coarse, fine, size, against ("truth" or "reading"), arm, measure, and the columns
        of :func:`.crossed.crossed`.
    contrasts : DataFrame
        The same for Dual minus `reference`, with the columns of :func:`.analysis.contrast`;
        `q_value`, which controls the false discovery rate over all rows; and `found`.
    """
    scored, compared = [], []
    for level, size, said in noise_answers(plan, folder):
        knees = noisy_knees(plan, level, size)
        coarse, fine = LEVELS[level]
        where = {"level": level, "coarse": coarse, "fine": fine, "size": size}
        true = knees.cases.loc[knees.tested, "kl"].to_numpy()
        counts = draw_cases(len(true), n_resamples, 0)
        for against, kl in (("truth", true), ("reading", knees.read)):
            here = where | {"against": against}
            values = {name: _measures(counts, kl, own) for name, own in said.items()}
            for name, measures in values.items():
                scored += [
                    {**here, "arm": name, "measure": measure}
                    | crossed(own, (-1, 1) if "kappa" in measure else (0, 1))
                    for measure, own in measures.items()
                ]
            for name in plan.arms:
                if name != "dual":
                    rows = contrast(values[name], values["dual"])
                    compared.append(rows.assign(**here, reference=name))
    if not compared:
        raise InputError(f"{folder}: no cell of the noise study is finished")
    found = pd.concat(compared, ignore_index=True)
    found = found.assign(q_value=benjamini_hochberg(found["p_value"]))
    return pd.DataFrame(scored), found.assign(
        found=[finding(row) for row in found.to_dict("records")]
    )


def _measures(counts: np.ndarray, kl: np.ndarray, said: np.ndarray) -> dict[str, np.ndarray]:
    """The primary outcomes of one arm, (S, 1 + B)."""
    each = said.astype(float)
    return {
        "kl_auc": np.stack([macro_auc(counts, kl, one) for one in each]),
        "kl_kappa": np.stack([weighted_kappa(counts, kl, one.argmax(axis=1)) for one in each]),
    }


def noise_map(contrasts: pd.DataFrame, measure: str, against: str = "truth") -> go.Figure:
    """Dual minus each other arm by level of noise and number of training knees, to hover over.

    Parameters
    ----------
    contrasts : DataFrame
        See :func:`noise_tables`.
    measure, against : str
        Which of the rows.
    """
    require_columns(contrasts, "level", "size", "reference", "value", "low", "high", "found")
    rows = contrasts[(contrasts["measure"] == measure) & (contrasts["against"] == against)]
    references = list(dict.fromkeys(rows["reference"]))
    levels = [level for level in LEVELS if level in set(rows["level"])]
    sizes = sorted(set(rows["size"]))
    reach = float(rows["value"].abs().max())
    fig = make_subplots(
        rows=len(references), cols=1, shared_xaxes=True, vertical_spacing=0.06,
        subplot_titles=[f"Dual minus {arm_name(name)}" for name in references],
    )  # fmt: skip
    for place, name in enumerate(references, start=1):
        own = rows[rows["reference"] == name].set_index(["level", "size"])
        cells = [[own.loc[(level, size)] for size in sizes] for level in levels]
        said = [
            [
                f"{cell['value']:+.3f} [{cell['low']:+.3f}, {cell['high']:+.3f}]: {cell['found']}"
                for cell in line
            ]
            for line in cells
        ]
        fig.add_heatmap(
            z=[[float(cell["value"]) for cell in line] for line in cells],
            x=[str(size) for size in sizes], y=levels, customdata=said,
            text=[[_SIGNS[cell["found"]] for cell in line] for line in cells],
            texttemplate="%{text}", coloraxis="coloraxis",
            hovertemplate="%{y}, %{x} knees: %{customdata}<extra></extra>", row=place, col=1,
        )  # fmt: skip
    height = 120 + 260 * len(references)
    style_figure(fig, height=height)
    fig.update_layout(
        coloraxis={
            "colorscale": "RdBu", "cmin": -reach, "cmax": reach,
            "colorbar": {"title": {"text": MEASURE_NAMES[measure], "side": "right"}},
        }
    )  # fmt: skip
    fig.update_yaxes(autorange="reversed")
    fig.update_xaxes(title="training knees", row=len(references), col=1)
    return for_phones(fig)


def learning_curves(scores: pd.DataFrame, measure: str, levels: list[str]) -> go.Figure:
    """Scores against the truth by number of training knees, a panel for each level of noise.

    Parameters
    ----------
    scores : DataFrame
        See :func:`noise_tables`.
    measure : str
    levels : list of str
        Of :data:`.noise.LEVELS`.
    """
    require_columns(scores, "level", "size", "arm", "value", "low", "high", "against")
    rows = scores[(scores["measure"] == measure) & (scores["against"] == "truth")]
    arms = list(dict.fromkeys(rows["arm"]))
    fig = make_subplots(
        rows=len(levels), cols=1, shared_xaxes=True, vertical_spacing=0.06, subplot_titles=levels
    )
    for place, level in enumerate(levels, start=1):
        for i, arm in enumerate(arms):
            own = rows[(rows["level"] == level) & (rows["arm"] == arm)].sort_values("size")
            fig.add_scatter(
                x=own["size"] * 1.03 ** (i - (len(arms) - 1) / 2), y=own["value"],
                error_y={"array": own["high"] - own["value"], "thickness": 1.5, "width": 0,
                         "arrayminus": own["value"] - own["low"]},
                mode="lines+markers", name=arm_name(arm), legendgroup=arm, showlegend=place == 1,
                line={"color": COLOURS[i], "width": 1.5},
                marker={"symbol": SYMBOLS[i], "size": 7, "color": COLOURS[i]},
                customdata=own[["low", "high", "size"]],
                hovertemplate="%{customdata[2]} knees: %{y:.3f} "
                "[%{customdata[0]:.3f}, %{customdata[1]:.3f}]", row=place, col=1,
            )  # fmt: skip
    height = 140 + 220 * len(levels)
    style_figure(fig, height=height, legend_y=1 + 40 / height)
    fig.update_yaxes(title=MEASURE_NAMES[measure])
    sizes = sorted(set(rows["size"]))
    fig.update_xaxes(type="log", tickvals=sizes, ticktext=[str(size) for size in sizes])
    fig.update_xaxes(title="training knees", row=len(levels), col=1)
    return for_phones(fig)


#: What a cell of the map found, as it is written in it.
_SIGNS = {"gain": "+", "loss": "−", "none": "=", "undecided": ""}
