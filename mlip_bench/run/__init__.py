"""Runs: a plan of tasks, a store that keeps each finished one, an executor, and schedules over them."""
