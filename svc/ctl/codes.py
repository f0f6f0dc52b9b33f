"""Exit statuses of svcctl; svcctl(8) has them too."""

DONE = 0
FAILED = 1
"""Something is wrong, or a rollout failed before any worker was replaced."""
WRONG_CALL = 2
PARTLY = 3
"""A rollout failed, and some workers run the new version."""
ABORTED = 4
NOT_RUNNING = 5
VERDICT = 6
"""The verdict on a rollout that failed. No other status of it is its own: then it could not be run at all."""
