"""Builders and fakes with behaviour that the tests share."""
