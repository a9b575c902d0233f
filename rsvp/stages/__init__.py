"""Stages: each module is one job, told from set-up to end; what a step computes lies below it.

A stage is a rule in `workflow/rules`, its jobs and what they read are in `workflow/plan.py`, and
`rsvp.config.stages.HANDED` says which part of the config it sees.
"""
