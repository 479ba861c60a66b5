"""Test settings: examples few enough for every commit; no deadline, as machines differ."""

from hypothesis import settings

settings.register_profile("quick", max_examples=20, deadline=None)
settings.load_profile("quick")
