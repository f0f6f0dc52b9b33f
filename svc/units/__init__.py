"""From `App` to units: what a value may look like in a unit, the templates, names that are taken."""
