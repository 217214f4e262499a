"""Values in, how page and card say them out."""

from .facts import Estimate

_LONGEST = 60  # characters of a name that comes from the data


def short(name: object) -> str:
    """What comes from the data may be of any length, and holds what it likes."""
    text = " ".join(str(name).split()).encode(errors="replace").decode()  # a file's name may hold what UTF-8 does not have
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def interval(estimate: Estimate, form: str = ".3f") -> str:
    """Empty where there is none."""
    if estimate.interval is None:
        return ""
    return " to ".join(f"{end:{form}}" for end in estimate.interval).replace("-", "−")


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
