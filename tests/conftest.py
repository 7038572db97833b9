"""What all tests share."""

from tests.support.examples import load_profile

load_profile()
