"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.training.held_out import HeldOut

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: #55606b; padding-bottom: .4rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #d5dbe1; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
.warning { border-left: 4px solid #a33b00; padding: .4rem .8rem; background: #fdf1ea; }
.notice { border-left: 4px solid #55606b; padding: .4rem .8rem; background: #f1f4f7; }
img { max-width: 100%; }
"""

_TITLES = {
    "c_index": "Harrell's C, pairs within a fold",
    "uno_c": "Uno's C, until nine tenths of the events",
    "integrated_brier": "Integrated Brier score",
    "auc": "Stage AUC, one against the rest",
    "balanced_accuracy": "Balanced accuracy",
    "quadratic_kappa": "Quadratic kappa",
    "brier": "Brier score of stages",
    "calibration_intercept": "Calibration intercept (0 is right)",
    "calibration_slope": "Calibration slope (1 is right)",
}


def render_page(document: Mapping[str, Any], held_out: HeldOut) -> str:
    """Return the page of an evaluation.

    Parameters
    ----------
    document : mapping
        The output of ``wsigraph evaluate --json``.
    held_out : HeldOut
        The out-of-fold predictions, for the curves.

    Returns
    -------
    str
        HTML with embedded pictures.
    """
    name = html.escape(str(document["model"]["name"]))
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        f"<meta name='viewport' content='width=device-width'><title>Evaluation of {name}</title>",
        f"<style>{_STYLE}</style></head><body><h1>Evaluation of {name}</h1>",
        f"<p class='notice'>{html.escape(str(document['notice']))}</p>",
        f"<p>{document['n_patients']:,} patients, {document['n_events']:,} events; folds by {document['split_by']}; "
        f"{document['n_configurations']} configuration(s) tried. Every patient was predicted out of fold. "
        f"Intervals: 95 %, {document['n_draws']:,} paired bootstrap draws of "
        f"{'sites' if document['split_by'] == 'site' else 'patients within folds'}.</p>",
        *(f"<p class='warning'>{html.escape(text)}</p>" for text in document["warnings"]),
    ]
    for part, title in (("survival", "Survival"), ("stage", "Stage")):
        if document[part]:
            parts.append(_model_scores(title, document[part]))
    parts += [_pictures(document, held_out), _baselines(document), _folds(document), "</body></html>"]
    return "\n".join(parts)


def interval(score: Mapping[str, Any] | None, sign: str = "") -> str:
    """Return a score with its interval as text, e.g. ``0.712 (0.650-0.770)``; a dash where there is none."""
    if not score or score.get("value") is None:
        return "-"
    low, high = score.get("low"), score.get("high")
    around = "" if low is None else f" ({low:{sign}.3f} to {high:{sign}.3f})"
    return f"{score['value']:{sign}.3f}{around}"


def _model_scores(title: str, scores: Mapping[str, Any]) -> str:
    rows = [(text, interval(scores[name])) for name, text in _TITLES.items() if name in scores]
    rows += [(f"AUC at day {auc['day']:,.0f}", interval(auc)) for auc in scores.get("time_auc", ())]
    if "d_calibration" in scores:
        score = scores["d_calibration"]
        rows.append(("D-calibration, largest deviation", f"{score['largest_deviation']:.3f} (p = {score['p']:.3g})"))
    if "log_rank" in scores:
        score = scores["log_rank"]
        rows.append(
            (
                "Log-rank, high against low risk",
                f"{score['statistic']:.1f} (p = {score['p']:.2g}; {score['n_high']} high)",
            )
        )
    if "permutation_p" in scores:
        rows.append(("Permutation p of the C-index", f"{scores['permutation_p']:.3g}"))
    body = "".join(
        f"<tr><th scope='row'>{html.escape(a)}</th><td class='n'>{html.escape(b)}</td></tr>" for a, b in rows
    )
    return f"<h2>{title}, on held-out patients</h2><table>{body}</table>"


def _baselines(document: Mapping[str, Any]) -> str:
    if not document["baselines"]:
        return "<h2>Baseline models</h2><p>None was fitted: the graphs were missing.</p>"
    lines = []
    for name, scores in document["baselines"].items():
        label = html.escape(name.replace("_", " "))
        if "left_out" in scores:
            lines.append(f"<tr><th scope='row'>{label}</th><td colspan='4'>{html.escape(scores['left_out'])}</td></tr>")
            continue
        above = scores["model_above"]
        cells = []
        for part, score in (("survival", "c_index"), ("stage", "auc")):
            cells += [interval(scores.get(part, {}).get(score)), interval(above.get(part, {}).get(score), "+")]
        lines.append(
            f"<tr><th scope='row'>{label}</th>" + "".join(f"<td class='n'>{cell}</td>" for cell in cells) + "</tr>"
        )
    head = "<th>baseline</th><th>C-index</th><th>model above</th><th>stage AUC</th><th>model above</th>"
    return (
        "<h2>Baseline models in the same folds</h2><table><caption>Differences are paired; the model is better where "
        f"the lower end is above 0.</caption><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _folds(document: Mapping[str, Any]) -> str:
    lines = []
    for row in document["folds"]:
        scores = [row.get(name) for name in ("c_index", "stage_auc")]
        cells = [row["n_patients"], row["n_events"], ", ".join(row["sites"][:8]) or "-"]
        cells += ["-" if score is None else f"{score:.3f}" for score in scores]
        lines.append(
            f"<tr><th scope='row'>{row['fold']}</th>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in cells)
        )
    head = "".join(f"<th>{name}</th>" for name in ("fold", "patients", "events", "sites", "C-index", "stage AUC"))
    return f"<h2>Folds</h2><table><thead><tr>{head}</tr></thead><tbody>{'</tr>'.join(lines)}</tr></tbody></table>"


def _pictures(document: Mapping[str, Any], held_out: HeldOut) -> str:
    figure = Figure(figsize=(10.0, 4.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    n = held_out.has_survival + held_out.has_stage
    axes = np.atleast_1d(figure.subplots(1, max(1, n)))
    column = 0
    if held_out.has_survival:
        high = held_out.risk > held_out.risk_cut[held_out.fold]
        known = np.isfinite(held_out.time_days)
        for group, label, colour in ((~high, "low risk", "C0"), (high, "high risk", "C3")):
            rows = group & known
            curve = kaplan_meier(held_out.time_days[rows], held_out.event[rows])
            # from day 0, and on to the last patient's end of follow-up
            days = np.concatenate([[0.0], curve.time_days, [held_out.time_days[rows].max(initial=0.0)]])
            survival = np.concatenate([[1.0], curve.survival, curve.survival[-1:] if len(curve.survival) else [1.0]])
            axes[column].step(days, survival, where="post", color=colour, label=f"{label} ({int(rows.sum())})")
        axes[column].set(xlabel="days", ylabel="observed survival", ylim=(0, 1.02))
        axes[column].legend(frameon=False)
        column += 1
    if held_out.has_stage and "calibration_curve" in document["stage"]:
        curve = document["stage"]["calibration_curve"]
        axes[column].plot([0, 1], [0, 1], color="#9aa5b1", linewidth=1)
        axes[column].plot(curve["stated"], curve["observed"], "o-", color="C0")
        axes[column].set(xlabel="stated probability of a higher stage", ylabel="observed", xlim=(0, 1), ylim=(0, 1))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    data = base64.b64encode(stream.getvalue()).decode()
    text = "Observed survival of high and low risk, and calibration of stages"
    return f"<h2>Curves</h2><p><img alt='{text}' src='data:image/png;base64,{data}'></p>"
