"""What the Settings tab shows, as HTML."""

from markupsafe import Markup

from app.components.html import hint_html
from app.engine.costs import Costs
from training.core.markup import joined

_TABLE = Markup(
    '<div class="numbers"><div><strong>{}</strong><small>{}</small></div></div><table><thead><tr><th>Setting</th>'
    "<th>Choice</th><th class=number>Takes</th></tr></thead><tbody>{}</tbody></table>{}"
)
_ROW = Markup("<tr><td>{}</td><td>{}</td><td class=number>{:,.0f} ms {}</td></tr>")
_MEASURING = "Measuring…"


def costs_html(costs: Costs) -> Markup:
    """A row for each choice; a setting's name stands in its first row alone."""
    if not costs.rows:
        return hint_html(_MEASURING if costs.progress else "Nothing has been measured yet.")
    before = ["", *(row.setting for row in costs.rows)]
    rows = joined(
        _ROW.format("" if row.setting == last else row.setting, row.choice, 1000 * row.seconds, row.unit)
        for last, row in zip(before, costs.rows, strict=False)
    )
    return _TABLE.format(costs.title, costs.about, rows, hint_html(_MEASURING) if costs.progress else "")
