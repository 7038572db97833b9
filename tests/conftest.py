"""What all tests share."""

from hypothesis import settings

# The suite runs on busy machines, and a slow example is no wrong one.
settings.register_profile(
    "no deadline", parent=settings.get_profile(settings.get_current_profile_name()), deadline=None
)
settings.load_profile("no deadline")
