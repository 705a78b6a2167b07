"""Hypothesis settings of these tests."""

from shared.tests import profiles

profiles.load()
