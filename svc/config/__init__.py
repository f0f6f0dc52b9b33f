"""From an app's files to `App`, or to all that is wrong with them. Standard library only.

for name, files in find(SearchPath.system()).items():
app = load(files)
"""

from svc.config.conflicts import conflicts
from svc.config.load import load, warnings
from svc.config.problems import ConfigError, Problem
from svc.config.search import AppFiles, SearchPath, find

__all__ = ["AppFiles", "ConfigError", "Problem", "SearchPath", "conflicts", "find", "load", "warnings"]
