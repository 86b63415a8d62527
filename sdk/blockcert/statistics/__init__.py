"""Exact statistics: every decision is made in integers or fractions, none in floating point.

What is here: bounds of a finite population from a draw without replacement, and of a proportion from independent draws;
what an audit of rows establishes and how many rows it takes; tests of disagreement between two samples; levels. A
probability is compared with a level, exactly; it is given as a fraction or not at all.
"""

from blockcert.statistics.audit import audit_bound, rows_needed
from blockcert.statistics.binomial import proportion_lower_bound, proportion_upper_bound
from blockcert.statistics.disagreement import (
    disagrees,
    exceedance_disagrees,
    exceedance_probability,
    fisher_disagreement,
)
from blockcert.statistics.levels import joint_level, level_of_each
from blockcert.statistics.population import MOST_DRAWS, maximum_bound, population_bound, population_upper_bound

__all__ = [
    "MOST_DRAWS",
    "audit_bound",
    "disagrees",
    "exceedance_disagrees",
    "exceedance_probability",
    "fisher_disagreement",
    "joint_level",
    "level_of_each",
    "maximum_bound",
    "population_bound",
    "population_upper_bound",
    "proportion_lower_bound",
    "proportion_upper_bound",
    "rows_needed",
]
