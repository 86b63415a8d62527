"""The front that several budgets give: measured beside plain rounding, as a table, as JSON and as a plot."""
