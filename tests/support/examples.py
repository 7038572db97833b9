"""How many examples property tests try: less in the run of every few minutes than in the thorough one."""

import os
from typing import Final

from hypothesis import settings

PROFILES: Final = {"quick": 40, "usual": 100, "thorough": 300}
"""Examples of a property that asks for no number of its own."""

_FEWEST: Final = 5


def load_profile() -> None:
    """Go by the profile that HYPOTHESIS_PROFILE names; quick if it names none.

    None has a deadline: the suite runs on busy machines, and a slow example is no wrong one.
    """
    parent = settings.get_profile(settings.get_current_profile_name())
    for name, examples in PROFILES.items():
        settings.register_profile(name, parent=parent, max_examples=examples, deadline=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def examples(usual: int) -> int:
    """The loaded profile's share of `usual`, for a property of which each example takes long."""
    loaded = settings.get_profile(settings.get_current_profile_name())
    return max(_FEWEST, usual * loaded.max_examples // PROFILES["usual"])
