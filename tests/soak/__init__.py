"""Faults on a real systemd under constant load: each is a scenario, judged by what clients saw."""
