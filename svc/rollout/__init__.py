"""The rollout: every worker of an app is replaced, and nobody notices."""
