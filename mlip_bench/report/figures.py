"""The figures of a report: the front of error and cost, and those that the sections bring."""

import pandas as pd

from mlip_bench.report.content import Content
from mlip_bench.section import against
from mlip_bench.section.drawing import Figure, drawn
from mlip_bench.section.parts import Plot

FRONT = "front"


def draw(content: Content) -> list[Figure]:
    """Draw every figure that the rows have data for."""
    plots = [*front(content), *(plot for section in content.sections for plot in section.plots)]
    return [drawn(plot) for plot in plots]


def front(content: Content) -> list[Plot]:
    """Error against cost, with the front of the points that no other beats in both."""
    evidence, axis = content.evidence, content.evidence.costs[0]
    if against.having(evidence, axis.metric).empty:
        return []
    first = evidence.errors[0].metric
    ends = evidence.ranking.get(f"{first}_low")
    on_errors = ""
    if ends is not None and ends.notna().any():
        on_errors = ", and the 95 % interval of the error over structures"
    elif evidence.ranking[f"{first}_spread"].notna().any():
        on_errors = ", and the spread over seeds"
    on_bars = f" Bars: {axis.bars}{on_errors}.{against.on_cut(evidence)}" if axis.bars else ""
    caption = (
        f"{evidence.split.capitalize()} error against {axis.quantity}. The grey line is the Pareto front: "
        f"nothing measured is both cheaper and better than its points.{against.on_lines(evidence)}{on_bars}"
        f"{axis.remark(evidence)}{against.remarks(evidence)}"
    )

    def tip(row: pd.Series) -> str:
        return f"{axis.tip(row)}, {row['n_parameters']:.0f} parameters"

    label = axis.long_label or axis.label
    return [Plot(FRONT, caption, lambda: against.draw(evidence, FRONT, axis.metric, label, tip))]
