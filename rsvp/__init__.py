"""rsvp: from a folder of videos to a trained video predictor and a report that can be trusted.

`from rsvp import Predictor` loads torch; the package alone does not.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsvp.diffusion.bundle import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    if name == "Predictor":
        from rsvp.diffusion.bundle import Predictor

        return Predictor
    raise AttributeError(f"module 'rsvp' has no attribute {name!r}")
