"""Objectives, evaluation, incidents and pages."""
