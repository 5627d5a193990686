"""What a student draws, beside what its teacher draws of the same layout and noise."""

from dataclasses import replace

from app.engine.studio import Studio
from app.studio.results.compare import Side, Sides
from app.studio.results.form import Form
from detdiffusion.attributes import Strategy
from detdiffusion.errors import ConfigError


def fast_beside_full(studio: Studio, form: Form, second: str | None = None) -> tuple[Form, Sides]:
    """The form with the seed that it shows, and both sides of the layout as it is tagged: by the present model as the
    form asks for it, and by its teacher as that one recommends itself.

    Args:
        second: another detector that looks at both.

    Raises:
        ConfigError: the present model is no student, or its teacher is not among the models to choose from.
    """
    teacher = studio.models.teacher()
    if teacher is None:
        raise ConfigError(f"{studio.model.name} has no full model here: it is no student, or its teacher is elsewhere")
    names = studio.model.recommended.named(form.settings.steps), studio.models.recommended(teacher).named()
    full = Side(Strategy.ORIGIN, teacher, recommended=True)
    sides = Sides(Side(Strategy.ORIGIN), full, second, named=(names[0].capitalize(), names[1].capitalize()))
    return replace(form, fixed=True), sides
