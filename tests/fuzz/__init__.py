"""Coverage-guided fuzzing of everything that reads what strangers write: ``make fuzz``."""
