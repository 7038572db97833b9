"""How times are shown."""

from datetime import UTC, datetime


def shown_time(seconds: float) -> str:
    """ISO 8601 in UTC, with fractions of a second only where there are any."""
    when = datetime.fromtimestamp(seconds, UTC)
    precision = "milliseconds" if when.microsecond else "seconds"
    return when.isoformat(timespec=precision).replace("+00:00", "Z")
